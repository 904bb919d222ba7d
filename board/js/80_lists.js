/* Schedules, queues, kinds, workers, alerts: tables, and buttons for who may. */

/* Of queues a tenant learns no numbers. */
const UNTOLD = 'How many tasks of others wait is for operators.';

function untoldOf(queues) {
	return queues.length > 0 && queues.every((queue) => queue.waiting === null);
}

/* A page with one table of a view, looked at again and again; buttons(), where one of acts is allowed, are its last column. */
function listPage(name, title, { view, query, more, columns, key, row, acts, buttons, every, note, untold }) {
	page(name, title, (scope) => {
		const body = h('tbody', {});
		const none = h('div', { class: 'nothing', hidden: true }, nothingYet(name, note));
		const acting = acts && acts.some(may);
		const made = table(title, acting ? [...columns, ''] : columns, []);
		made.querySelector('tbody').replaceWith(body);
		made.hidden = true;
		const notes = h('div', {});
		const unsaid = h('p', { class: 'soft', hidden: true }, UNTOLD);
		const place = h('div', { class: 'card list', hidden: true }, made, none, unsaid);
		show(scope.main, notes, place);
		const look = async () => {
			const got = await api.get(view, query, scope.signal);
			const rows = more ? await more(got, scope.signal) : got;
			showKeyed(body, rows, key, (item) => append(row(item), [acting && h('td', {}, h('div', { class: 'row' }, buttons(item, scope, look)))]));
			place.hidden = false;
			none.hidden = rows.length > 0;
			made.hidden = !none.hidden;
			unsaid.hidden = !untold || !untold(rows);
			return JSON.stringify(rows);
		};
		scope.repeat(every || 5000, look, notes);
	});
}

function act(scope, look, title, name, body) {
	return may(name) && h('button', { type: 'button', click: scope.action(() => api.rpc(name, body, scope.signal), () => { say(title + ': done'); return look(); }) }, title);
}

/* Pausing says why. */
function pauseButton(scope, look, item, what) {
	if (item.paused)
		return act(scope, look, 'Resume', what + '_resume', { name: item.name });
	return may(what + '_pause') && h('button', { type: 'button', click: () => {
		const reason = h('input', { type: 'text', maxlength: 500 });
		ask('Pause ' + what + ' ' + item.name, 'Pause', false, [h('label', { class: 'field' }, 'Reason (is shown)', reason)],
			() => api.rpc(what + '_pause', { name: item.name, reason: reason.value || null }, scope.signal)).addEventListener('close', () => scope.tried(look));
	} }, 'Pause \u2026');
}

function pausedWords(item) {
	return item.paused ? [pausedSign(), item.paused_by && ' by ' + item.paused_by, ' ', ago(item.paused_since), item.pause_reason && ': ' + item.pause_reason] : null;
}

function rateWords(item) {
	return item.rate && number(item.rate) + ' in ' + duration(item.rate_period);
}

listPage('schedules', 'Schedules', { view: 'schedule', query: { order: 'name', limit: 1000 }, key: (item) => item.name, note: 'There are no schedules. One submits a task at its times:',
	columns: ['Schedule', 'Kind', 'When', 'Next run', 'Last run', ['Runs', 'number'], 'State'],
	row: (item) => h('tr', {}, h('th', { scope: 'row', class: 'wrap' }, item.name, item.description && h('div', { class: 'soft' }, item.description)), h('td', { class: 'wrap' }, tasksLink({ kind: item.kind }, item.kind)),
		h('td', { class: 'wrap' }, item.cron ? [h('code', {}, item.cron), ' ', item.timezone] : 'every ' + duration(item.every)), h('td', {}, item.enabled && time(item.next_run)),
		h('td', {}, time(item.last_run), item.last_task && [' ', taskLink(item.last_task, 'task')]), h('td', { class: 'number' }, number(item.runs)),
		h('td', { class: 'wrap' }, item.enabled ? 'enabled' : h('span', { class: 'warned' }, 'disabled'), item.error && h('div', { class: 'bad' }, item.error))),
	acts: ['schedule_run', 'schedule_enable', 'schedule_disable'],
	buttons: (item, scope, look) => [act(scope, look, 'Run now', 'schedule_run', { name: item.name }),
		act(scope, look, item.enabled ? 'Disable' : 'Enable', item.enabled ? 'schedule_disable' : 'schedule_enable', { name: item.name })] });

/* What statistics know of queues beside: how fast, how long. */
async function withRates(found, signal) {
	const [queues, estimates, rates] = await Promise.all([found, orNothing(api.get('rpc/queue_estimates', null, signal), []), orNothing(api.get('rpc/statistics_by', { timeframe: '5 minutes', group_by: 'queue' }, signal), [])]);
	const more = {};
	for (const one of estimates)
		more[one.queue] = { time_to_empty: one.time_to_empty };
	for (const one of rates)
		more[one.key] = { ...more[one.key], throughput: one.throughput };
	return queues.map((queue) => ({ ...queue, ...more[queue.name] }));
}

listPage('queues', 'Queues', { view: 'queue', query: { order: 'waiting.desc.nullslast,name', limit: 1000 }, more: withRates, untold: untoldOf, key: (item) => item.name, every: 3000, note: 'There are no queues. A kind that names one makes it, and so does:',
	columns: ['Queue', ['Waiting', 'number'], ['Running', 'number'], ['A second', 'number'], 'Oldest', 'Empty in', 'Limits', 'State'],
	row: (item) => h('tr', {}, h('th', { scope: 'row', class: 'wrap' }, tasksLink({ queue: item.name, state: 'unfinished' }, item.name), item.description && h('div', { class: 'soft' }, item.description)),
		h('td', { class: 'number' }, number(item.waiting)), h('td', { class: 'number' }, number(item.running)), h('td', { class: 'number' }, aSecond(item.throughput)), h('td', {}, ago(item.oldest)), h('td', { class: 'nowrap' }, emptyIn(item)),
		h('td', { class: 'wrap' }, limitWords(item)),
		h('td', { class: 'wrap' }, pausedWords(item))),
	acts: ['queue_pause', 'queue_resume', 'queue_limit'],
	buttons: (item, scope, look) => [pauseButton(scope, look, item, 'queue'), limitButton(scope, look, item, 'queue')] });

/* Limits: [argument, label, what it means that there is none]. */
const LIMITS = {
	queue: [['max_running', 'Running at a time', 'no limit'], ['rate', 'Started in a period', 'no limit'], ['reserved', 'Workers reserved for it', 'none']],
	kind: [['max_running', 'Running at a time', 'no limit'], ['rate', 'Started in a period', 'no limit'], ['max_running_per_key', 'Of one concurrency key at a time', '1']],
};

function limitWords(item) {
	return [item.max_running !== null && 'at most ' + number(item.max_running) + ' at a time', rateWords(item), item.reserved && number(item.reserved) + ' places reserved',
		item.max_running_per_key > 1 && number(item.max_running_per_key) + ' of a key'].filter(Boolean).join(', ');
}

/* What is wrong with an argument is said at its field, too. */
function blame(inputs, error) {
	const [, name] = /argument "(\w+)"/.exec(error.hint) || [null, error.code === '22007' || error.code === '22008' ? 'rate_period' : null];
	for (const [one, input] of Object.entries(inputs))
		input.setAttribute('aria-invalid', String(one === name));
	if (inputs[name])
		inputs[name].focus();
	throw error;
}

/* What is left as it was is not sent: somebody else may be changing that. */
function limitDialog(scope, item, what) {
	const inputs = Object.fromEntries(LIMITS[what].map(([name, , none]) => [name, h('input', { type: 'number', min: 1, max: 2147483647, value: item[name] ?? '', placeholder: none })]));
	inputs.rate_period = h('input', { type: 'text', value: item.rate_period ?? '', placeholder: '1 s' });
	const reason = h('input', { type: 'text', maxlength: 500 });
	const was = Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, input.value]));
	return ask('Limits of ' + what + ' ' + item.name, 'Set limits', false, [
		h('p', { class: 'soft' }, 'Empty: no limit. It counts at once, and ends nothing that runs.', what === 'kind' && [' When ', item.owner || 'its owner', ' defines the kind anew, as a deployment may, its limits are what is said there.']),
		LIMITS[what].map(([name, title]) => h('label', { class: 'field' }, title, inputs[name])), h('label', { class: 'field' }, 'Period, as \u201c1 min\u201d', inputs.rate_period),
		h('label', { class: 'field' }, 'Reason (is on record)', reason)], async () => {
		const args = {};
		for (const [name, input] of Object.entries(inputs))
			if (input.value.trim() !== was[name])
				args[name] = name === 'rate_period' ? input.value.trim() || '1 s' : input.value === '' ? -1 : Number(input.value);
		if (!Object.keys(args).length)
			throw new Error('No limit is changed.');
		await api.rpc(what + '_limit', { name: item.name, ...args, reason: reason.value || null }, scope.signal).catch((error) => blame(inputs, error));
		say('The limits are set');
	});
}

function limitButton(scope, look, item, what) {
	return may(what + '_limit') && h('button', { type: 'button', click: () => limitDialog(scope, item, what).addEventListener('close', () => scope.tried(look)) }, 'Limits \u2026');
}

function handlerWords(handler) {
	return handler ? handler.replaceAll('pg_catalog.', '').replace(/\(jsonb\)$/, '') : 'external workers';
}

listPage('kinds', 'Kinds', { view: 'kind', query: { order: 'name', limit: 1000 }, key: (item) => item.name, note: 'There are no kinds of task. A kind is a name, and the function that does it:',
	columns: ['Kind', 'Run by', 'Queue', ['Priority', 'number'], ['Attempts', 'number'], 'Timeout', 'Limits', 'State'],
	row: (item) => h('tr', {}, h('th', { scope: 'row', class: 'wrap' }, tasksLink({ kind: item.name }, item.name), item.category && h('div', { class: 'soft' }, item.category), item.description && h('div', { class: 'soft' }, item.description.split('\n')[0])),
		h('td', { class: 'wrap mono' }, handlerWords(item.handler).split(/(?<=[._])/).map((part) => [part, h('wbr')])), h('td', { class: 'wrap' }, item.queue), h('td', { class: 'number' }, item.priority), h('td', { class: 'number' }, item.max_attempts), h('td', {}, duration(item.timeout)),
		h('td', { class: 'wrap' }, limitWords(item)),
		h('td', { class: 'wrap' }, pausedWords(item))),
	acts: ['kind_pause', 'kind_resume', 'kind_limit', 'task_submit'],
	buttons: (item, scope, look) => [steers(item) && [pauseButton(scope, look, item, 'kind'), limitButton(scope, look, item, 'kind')], maySubmit(item) && h('button', { type: 'button', click: () => scope.tried(() => submitDialog(scope, item.name)) }, 'Submit \u2026')] });

listPage('workers', 'Workers', { view: 'worker', query: { order: 'type,name', limit: 1000 }, key: (item) => item.type + item.name + item.role, every: 2000, note: 'There is no worker that you may see. Those of the server start when there is something to run; one outside is whoever asks for tasks:',
	columns: ['Worker', 'Where', 'State', 'Task', ['Done', 'number'], ['Failed', 'number'], ['Mean time', 'number'], ['CPU', 'number'], ['Memory', 'number'], 'Heard of'],
	row: (item) => h('tr', {}, h('th', { scope: 'row', class: 'wrap' }, item.name, h('div', { class: 'soft' }, item.role)), h('td', {}, item.type, item.pid && h('div', { class: 'soft' }, 'pid ' + item.pid)), h('td', {}, workerState(item.state)),
		h('td', {}, item.task_id ? [taskLink(item.task_id, item.kind), ' ', ago(item.task_started_at)] : item.running > 0 && number(item.running) + ' tasks'),
		h('td', { class: 'number' }, number(item.completed)), h('td', { class: 'number' }, number(item.failed)), h('td', { class: 'number' }, duration(item.average_run)),
		h('td', { class: 'number' }, item.cpu_percent === null ? '' : Math.round(item.cpu_percent) + ' %'), h('td', { class: 'number' }, bytes(item.memory)), h('td', {}, ago(item.last_heartbeat))) });

listPage('alerts', 'Alerts', { view: 'alert', query: { order: 'name' }, key: (item) => item.name, note: 'There are no alerts. One fires while a number is too large:',
	columns: ['Alert', 'Of', ['Above', 'number'], ['Now', 'number'], 'State'],
	row: (item) => h('tr', {}, h('th', { scope: 'row', class: 'wrap' }, item.name, item.description && h('div', { class: 'soft' }, item.description)),
		h('td', { class: 'wrap' }, item.metric, item.queue && ' of queue ' + item.queue, item.kind && ' of kind ' + item.kind), h('td', { class: 'number' }, number(item.threshold)), h('td', { class: 'number' }, number(item.value)),
		h('td', {}, alertState(item))),
	acts: ['alert_enable', 'alert_disable'],
	buttons: (item, scope, look) => act(scope, look, item.enabled ? 'Disable' : 'Enable', item.enabled ? 'alert_disable' : 'alert_enable', { name: item.name }) });
