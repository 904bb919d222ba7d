/* Overview: what there is, what runs, what is wrong. */

/* Whom a monitor's view is refused sees the rest. */
async function orNothing(promise, nothing) {
	try {
		return await promise;
	} catch (error) {
		if (error instanceof ApiError && [403, 404].includes(error.status))
			return nothing;
		throw error;
	}
}

function countsOf(tasks) {
	return STATES.map((name) => ({ name, n: tasks[name] || 0 }));
}

function countItem({ name, n }) {
	return h('li', {}, h('a', { href: '#/tasks?state=' + name }, h('b', {}, number(n)), state(name)));
}

/* a minute, as statistics say it, to a second */
function aSecond(throughput) {
	return !throughput ? '' : throughput < 3 ? '< 0.1' : (throughput / 60).toFixed(1);
}

function emptyIn(queue) {
	return queue.time_to_empty ? duration(queue.time_to_empty) : queue.waiting ? 'unknown' : '';
}

function queueRow(queue) {
	return h('tr', {}, h('td', { class: 'entry' }, tasksLink({ queue: queue.name, state: 'unfinished' }, queue.name)),
		h('td', { class: 'number' }, number(queue.waiting)), h('td', { class: 'number' }, number(queue.running)),
		h('td', { class: 'number' }, aSecond(queue.throughput)),
		h('td', {}, ago(queue.oldest)), h('td', { class: 'nowrap ends' }, queue.paused ? pausedSign() : emptyIn(queue)));
}

function workerRow(worker) {
	return h('tr', {}, h('td', { class: 'wrap' }, worker.name), h('td', {}, worker.type), h('td', {}, workerState(worker.state)),
		h('td', {}, worker.task_id && [taskLink(worker.task_id, worker.kind), ' ', ago(worker.task_started_at)], !worker.task_id && worker.running > 0 && number(worker.running) + ' tasks'),
		h('td', { class: 'number' }, number(worker.completed)), h('td', { class: 'number' }, number(worker.failed)));
}

function workerState(name) {
	return h('span', { class: { busy: 'moving', offline: 'warned' }[name] || 'soft' }, name);
}

function alertState(alert) {
	if (alert.state === 'firing')
		return [h('strong', { class: 'state bad' }, sign('firing'), 'fires'), ' ', ago(alert.firing_since)];
	return { ok: h('span', { class: 'state good' }, sign('completed'), 'quiet'), pending: h('span', { class: 'warned' }, 'above, but not for long yet') }[alert.state] || h('span', { class: 'soft' }, alert.state);
}

function alertRow(alert) {
	return h('tr', {}, h('td', { class: 'wrap' }, alert.name), h('td', {}, alertState(alert)), h('td', { class: 'number' }, number(alert.value)), h('td', { class: 'number' }, number(alert.threshold)));
}

function failedRow(task) {
	return h('tr', {}, h('td', {}, ago(task.finished_at)), h('td', {}, taskLink(task.id, task.kind)), h('td', { class: 'wrap' }, task.message));
}

function warningList(report, alerts) {
	const firing = alerts.filter((alert) => alert.firing_since);
	return [report.why_not_running && !report.warnings.some((text) => text.startsWith(report.why_not_running)) && h('li', { class: 'note bad' }, report.why_not_running),
		firing.map((alert) => h('li', { class: 'note bad' }, h('strong', {}, 'Alert ' + alert.name), ': ', alert.metric, ' is above ', number(alert.threshold), ' since ', time(alert.firing_since))),
		report.warnings.filter((text) => !/^Alert /.test(text)).map((text) => h('li', { class: 'note' }, text))];
}

function runWords(report) {
	return (report.workers ?? null) === null ? 'Tasks are run.' : 'Tasks are run: ' + number(report.workers) + ' of ' + number(report.max_workers) + ' workers are there.';
}

function pauseAll(scope, look) {
	const reason = h('input', { type: 'text', maxlength: 500 });
	ask('Start no more tasks in this database', 'Pause everything', true, [h('p', {}, 'What runs goes on to its end. Tasks can be submitted as before.'), h('label', { class: 'field' }, 'Reason (is shown)', reason)],
		() => api.rpc('pause', { reason: reason.value || null }, scope.signal)).addEventListener('close', () => scope.tried(look));
}

const ALARMING = ['disabled', 'ok', 'pending', 'firing'];
const PERIODS = { '1 hour': [3600000, 60000], '24 hours': [86400000, 3600000] };

page('', 'Overview', async (scope) => {
	const counts = h('ul', { class: 'counts', 'aria-label': 'Tasks by state' });
	showKeyed(counts, STATES.map((name) => ({ name, n: null })), (item) => item.name, countItem);
	const warnings = h('ul', { class: 'notes' });
	const quiet = h('p', { class: 'soft' }, 'Nothing does.');
	const queues = h('tbody', {});
	const workers = h('tbody', {});
	const failures = h('tbody', {});
	const ended = h('div', {});
	const times = h('div', {});
	const situation = h('p', {});
	const steering = h('div', {});
	const notes = h('div', {});
	const chartNotes = h('div', {});
	let period = '1 hour';
	const periods = Object.keys(PERIODS).map((name) => h('button', { type: 'button', 'aria-pressed': String(name === period), click: async () => {
		period = name;
		periods.forEach((one) => one.setAttribute('aria-pressed', String(one.textContent === 'Last ' + name)));
		await scope.tried(charts, chartNotes);
	} }, 'Last ' + name));
	const unsaid = h('p', { class: 'soft', hidden: true }, UNTOLD);
	const alarms = h('tbody', {});
	const alarmed = card('Alerts', filled('Alerts', ['Alert', 'State', ['Now', 'number'], ['Above', 'number']], alarms), h('p', {}, h('a', { href: '#/alerts' }, 'All alerts')));
	alarmed.hidden = true;

	/* shown when it is known: what is read does not move */
	const all = h('div', { class: 'stack', hidden: true }, h('div', { class: 'row between situation' }, situation, steering),
		h('div', { class: 'top' }, counts, card('Needs attention', h('div', { class: 'attention', tabindex: 0 }, quiet, warnings))),
		h('section', { class: 'card', 'aria-label': 'Throughput and run time' }, h('div', { class: 'row' }, periods), chartNotes, h('div', { class: 'grid charts' }, ended, times)),
		h('div', { class: 'grid broad' }, h('div', { class: 'stack' },
			card('Queues', filled('Queues', ['Queue', ['Waiting', 'number'], ['Running', 'number'], ['A second', 'number'], 'Oldest', 'Empty in'], queues, nothingYet('queues', 'There are no queues. A kind that names one makes it, and so does:')), unsaid, h('p', {}, h('a', { href: '#/queues' }, 'All queues'))),
			card('Workers', filled('Workers', ['Worker', 'Where', 'State', 'Task', ['Done', 'number'], ['Failed', 'number']], workers, 'There is no worker that you may see. They start when there is something to run.'), h('p', {}, h('a', { href: '#/workers' }, 'All workers')))),
		h('div', { class: 'stack' },
			card('Failed lately', filled('Failed lately', ['When', 'Task', 'Why'], failures, 'No task has failed.'), h('p', {}, h('a', { href: '#/tasks?state=failed' }, 'All failed tasks'))),
			alarmed)));
	show(scope.main, notes, all);

	async function charts() {
		const [length, span] = PERIODS[period];
		const asked = period;
		const rows = await api.get('rpc/statistics_history', { timeframe: asked }, scope.signal);
		if (asked !== period)
			return;
		const to = now();
		show(ended, endedChart(Math.max(ended.clientWidth, 280), rows, span, to - length, to));
		show(times, timesChart(Math.max(times.clientWidth, 280), rows, span, to - length, to));
	}

	async function look() {
		const told = api.get('rpc/sitrep', null, scope.signal);
		const [report, list, outside, alerts] = await Promise.all([
			told,
			withRates(told.then((found) => found.queues), scope.signal),
			api.get('worker', { order: 'task_started_at.asc.nullslast,name', limit: 50 }, scope.signal),
			may('alert') ? orNothing(api.get('alert', null, scope.signal), []) : []]);
		showKeyed(counts, countsOf(report.tasks), (item) => item.name, countItem);
		const steered = report.paused + ' ' + report.running;
		if (steering.dataset.text !== steered) {
			steering.dataset.text = steered;
			show(steering, may('pause') && (report.paused ? act(scope, look, 'Resume everything', 'resume', {}) : h('button', { type: 'button', click: () => pauseAll(scope, look) }, 'Pause everything \u2026')));
		}
		show(situation, report.paused ? 'Paused. ' + (report.why_paused || '') : report.running ? runWords(report) : 'No task is run.');
		const text = JSON.stringify([report.warnings, report.why_not_running, alerts]);
		if (warnings.dataset.text !== text) {
			if (warnings.dataset.text)
				say('What needs attention has changed');
			warnings.dataset.text = text;
			show(warnings, warningList(report, alerts));
			quiet.hidden = warnings.children.length > 0;
		}
		showRows(queues, list, (queue) => queue.name, queueRow);
		unsaid.hidden = !untoldOf(list);
		showRows(workers, outside, (worker) => worker.type + worker.name + worker.role, workerRow);
		alarmed.hidden = !alerts.length;
		showRows(alarms, alerts.sort((a, b) => ALARMING.indexOf(b.state) - ALARMING.indexOf(a.state)).slice(0, 10), (alert) => alert.name, alertRow);
		showRows(failures, report.failed, (task) => task.id, failedRow);
		if (all.hidden) {
			all.hidden = false;
			scope.repeat(20000, charts, chartNotes);
		}
		return JSON.stringify([report.tasks, list, outside, steered, text, report.failed]);
	}

	scope.live(5000, look, notes);
	window.addEventListener('resize', () => { clearTimeout(charts.timer); charts.timer = setTimeout(() => all.hidden || scope.tried(charts, chartNotes), 200); }, { signal: scope.signal });
});
