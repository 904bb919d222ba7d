/* One task: what became of it, what it does, why it does not run, and what can be done. */

const FINAL = ['completed', 'failed', 'cancelled'];

/* From submit to end, drawn: it waited, and each attempt. */
function timeBar(task, attempts) {
	const from = new Date(task.created_at).getTime();
	const to = Math.max(...[task.finished_at, ...attempts.map((one) => one.finished_at)].filter(Boolean).map((at) => new Date(at).getTime()), FINAL.includes(task.state) ? 0 : Date.now());
	const x = (at) => Math.max(0, Math.min(1000, (new Date(at) - from) / (to - from || 1) * 1000));
	const label = attempts.length + (attempts.length === 1 ? ' attempt' : ' attempts') + ' in ' + words((to - from) / 1000);
	return svg('svg', { class: 'times', viewBox: '0 0 1000 20', preserveAspectRatio: 'none', role: 'img', 'aria-label': label }, svg('rect', { class: 'waited', x: 0, y: 8, width: 1000, height: 4 }),
		attempts.map((one) => svg('rect', { class: one.state, x: Math.min(x(one.started_at), 996), y: 2, width: Math.max(4, x(one.finished_at || to) - x(one.started_at)), height: 16 },
			svg('title', {}, 'Attempt ' + one.attempt + ': ' + one.state + (one.finished_at ? ', ' + duration(one.duration) : '')))));
}

function attemptState(name) {
	return name === 'lost' ? [state('failed'), ' (lost)'] : state(name);
}

/* A person, if that is known, and the role. */
function submitterOf(task) {
	const person = personOf(task.claims);
	return person ? person + ' (' + task.submitted_by + ')' : task.submitted_by;
}

/* Of many attempts the last ones: all are in a table. */
function timeline(task, attempts) {
	const steps = [['Submitted', task.created_at, ['by ', submitterOf(task), task.parent && [', child of ', taskLink(task.parent)], task.retry_of && [', retry of ', taskLink(task.retry_of)]]]];
	const first = attempts[0];
	if (!first && !FINAL.includes(task.state))
		steps.push(['Waits', null, since(task.created_at)]);
	if (first)
		steps.push(['Waited', null, words(Math.max(0.1, new Date(first.started_at) - new Date(task.created_at)) / 1000)]);
	const last = attempts.slice(-3);
	if (attempts.length > last.length)
		steps.push(['Before', null, number(attempts.length - last.length) + ' attempts']);
	for (const attempt of last)
		steps.push(['Attempt ' + attempt.attempt, attempt.started_at, [attemptState(attempt.state), ' on ', attempt.worker, attempt.finished_at && [' for ', duration(attempt.duration)]]]);
	if (task.run_at && !FINAL.includes(task.state) && task.state !== 'running')
		steps.push([task.run_at === 'infinity' ? 'Held' : 'Due', task.run_at === 'infinity' ? null : task.run_at, task.run_at === 'infinity' ? 'until it is run' : ago(task.run_at)]);
	if (task.finished_at)
		steps.push(['Ended', task.finished_at, [state(task.state), task.cancel_reason && [': ', task.cancel_reason]]]);
	return card('Timeline', timeBar(task, attempts),
		table('Timeline', ['What', 'When', ''], steps.map(([what, at, more]) => h('tr', {}, h('th', { scope: 'row' }, what), h('td', {}, time(at)), h('td', { class: 'wrap' }, more)))));
}

function attemptsCard(attempts) {
	const used = (one) => one.resources || {};
	const measured = attempts.some((one) => one.resources);
	const cpu = (one) => one.resources ? words((used(one).cpu_user || 0) + (used(one).cpu_system || 0)) : '';
	return attempts.length > 0 && card('Attempts', h('div', { class: 'tall' }, table('Attempts', [['No.', 'number'], 'State', 'Worker', 'Started', ['Took', 'number'], ...(measured ? [['CPU', 'number rare'], ['Peak memory', 'number rare'], ['WAL', 'number rare']] : []), 'Error'],
		[...attempts].reverse().map((one) => h('tr', {}, h('td', { class: 'number' }, one.attempt), h('td', {}, attemptState(one.state)), h('td', { class: 'wrap' }, one.worker), h('td', {}, time(one.started_at)),
			h('td', { class: 'number' }, one.finished_at ? duration(one.duration) : since(one.started_at)), measured && [cpu(one), bytes(used(one).peak_memory), bytes(used(one).wal_bytes)].map((text) => h('td', { class: 'number rare' }, text)), h('td', { class: 'text' }, one.error && one.error.message))))));
}

function progressCard(task) {
	if (task.current === null && task.state !== 'running')
		return null;
	return card('Progress', h('p', {}, bar(task.progress, 'Progress', true)),
		across(['Done', Math.round(task.progress) + ' %', task.current !== null && [' \u2013 ', number(task.current), ' of ', number(task.total)]], ['Phase', task.phase], ['Now', task.message],
			['Failed steps', task.failed_steps], ['Steps a minute', task.throughput && number(Math.round(task.throughput))], ['A step takes', duration(task.step_duration)],
			['Expected end', task.estimated_completion && !FINAL.includes(task.state) && [time(task.estimated_completion), ' (', ago(task.estimated_completion), ')']]));
}

function failedSteps(task) {
	return task.failure_details && task.failure_details.length > 0 && card('Failed steps', h('div', { class: 'tall' }, table('Failed steps', ['Step', 'Error', 'When'], task.failure_details.map((one) =>
		h('tr', {}, h('td', { class: 'wrap' }, one.step), h('td', { class: 'wrap' }, one.error), h('td', {}, time(one.timestamp)))))));
}

function whyCard(reasons) {
	return reasons && reasons.length > 0 && card('Why is it not running?', h('ol', {}, reasons.map((reason) => h('li', {}, reason.message, reason.hint && h('div', { class: 'soft' }, reason.hint)))));
}

function errorCard(error) {
	return error && card('Error', h('p', { class: 'bad wrap' }, h('strong', {}, error.type || error.sqlstate), ': ', error.message),
		pairs(['Detail', error.detail], ['Hint', error.hint], ['SQLSTATE', error.sqlstate], ['Tried again', error.retryable === undefined ? null : error.retryable ? 'makes sense' : 'makes no sense']),
		['Traceback', 'Context', 'Details'].map((title) => error[title.toLowerCase()] && [h('div', { class: 'soft' }, title), readable(error[title.toLowerCase()], title.toLowerCase())]));
}

function factsCard(task) {
	return card('Details', pairs(['Id', h('span', { class: 'mono' }, task.id)], ['Kind', tasksLink({ kind: task.kind }, task.kind)], ['Queue', tasksLink({ queue: task.queue }, task.queue)],
		['Priority', String(task.priority)], ['Place in the queue', task.queue_position], ['Expected start', task.estimated_start && [time(task.estimated_start), ' (', ago(task.estimated_start), ')']],
		['Attempt', task.attempt + ' of ' + task.max_attempts], ['Runs as', task.run_as], ['Tenant', task.tenant], ['Tags', task.tags && task.tags.map((tag, n) => [n > 0 && ', ', tasksLink({ tag }, tag)])], ['Key', task.concurrency_key], ['Unique key', task.unique_key],
		['Timeout', duration(task.timeout)], ['Category', task.category && tasksLink({ category: task.category }, task.category)], ['Submitted by', submitterOf(task)], ['Worker', task.worker],
		['Run by', task.configuration && task.configuration.required_worker && handlerWords(task.configuration.handler)],
		['Parent', task.parent && taskLink(task.parent)], ['Retry of', task.retry_of && taskLink(task.retry_of)],
		['Workflow', task.workflow && h('a', { href: '#/workflow/' + task.workflow }, task.step ? 'step ' + task.step : task.workflow)]),
	task.resources && pairs(['CPU', words((task.resources.cpu_user || 0) + (task.resources.cpu_system || 0))], ['Peak memory', bytes(task.resources.peak_memory)], ['WAL', bytes(task.resources.wal_bytes)],
		['Blocks read', number(task.resources.blocks_read)], ['Temporary files', bytes(task.resources.temp_bytes)]));
}

function relatedCard(rows, title, more) {
	return rows && rows.length > 0 && card(title, more, table(title, ['State', 'Task', 'Kind'], rows.map((task) =>
		h('tr', {}, h('td', {}, state(task.state)), h('td', {}, taskLink(task.id)), h('td', { class: 'wrap' }, task.kind)))));
}

function linksCard(links) {
	return links && links.length > 0 && card('Objects', table('Objects that it made', ['Object', 'Id', 'When'], links.map((link) =>
		h('tr', {}, h('td', { class: 'wrap' }, link.object), h('td', { class: 'wrap' }, link.id), h('td', {}, time(link.created_at))))));
}

function dataCards(task) {
	return [['Payload', task.payload], ['Result', task.result], ['Metadata', task.live_metadata]].filter(([, value]) => value !== null && value !== undefined && JSON.stringify(value) !== '{}')
		.map(([title, value]) => card(title, readable(value, title.toLowerCase())));
}

/* Lines of the log, as they come; it follows while the reader is at its end.  Of very many the last ones. */
const LINES = 5000;
const TAIL = 1000;				/* what PostgREST gives at a time, see examples/postgrest.conf */
const LETTERS = 10000;

function logLine(line) {
	const cut = line.message.length > LETTERS ? line.message.slice(0, LETTERS) + '\u2026' : line.message;
	return h('li', {}, time(line.logged_at), h('span', { class: ['warning', 'error'].includes(line.level) ? 'warned' : 'soft' }, line.level),
		h('span', { class: 'text' }, cut, line.details && h('span', { class: 'soft mono' }, ' ', JSON.stringify(line.details).slice(0, LETTERS))));
}

function logCard(scope, id, ready) {
	const list = h('ol', {});
	const box = h('div', { class: 'log', tabindex: 0, role: 'log', 'aria-live': 'off', 'aria-label': 'Log' }, list);
	const level = h('select', { change: () => { turn++; list.replaceChildren(); last = null; skipped.hidden = true; scope.tried(look, notes); } }, ['debug', 'info', 'warning', 'error'].map((name) => h('option', { value: name }, name)));
	const none = h('p', { class: 'soft' }, 'Nothing is logged.');
	const skipped = h('p', { class: 'soft', hidden: true }, 'Lines before these are not shown.');
	const notes = h('div', {});
	let last = null;
	let turn = 0;				/* who asked before lines came, or the level changed, asks again */
	const look = async () => {
		for (;;) {
			const before = turn;
			const first = last === null;
			const some = first ? TAIL : 500;
			const lines = await api.get('rpc/task_logs', { id, level: level.value, after: last, n: first ? -TAIL : some }, scope.signal);
			if (before !== turn)
				return;
			turn++;
			const atEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - 4;
			list.append(...lines.map(logLine));
			last = lines.length ? lines[lines.length - 1].seq : last || 0;
			if (first && lines.length === TAIL)
				skipped.hidden = false;
			while (list.children.length > LINES) {
				list.firstChild.remove();
				skipped.hidden = false;
			}
			none.hidden = list.children.length > 0;
			if (atEnd)
				box.scrollTop = box.scrollHeight;
			if (first || lines.length < some)
				break;
		}
	};
	scope.repeat(2000, async () => {
		const final = ready();
		await look();
		if (final)
			await scope.sleep(600000);
		return last;
	}, notes);
	return card('Log', h('p', {}, h('label', {}, 'From level ', level)), notes, none, skipped, box);
}

function cancelDialog(scope, task) {
	const reason = h('input', { type: 'text', maxlength: 500 });
	const force = h('input', { type: 'checkbox' });
	return ask('Cancel this task', 'Cancel it', true, [h('label', { class: 'field' }, 'Reason (is on record)', reason),
		task.state === 'running' && h('label', { class: 'check' }, force, 'Force: end its worker, if it does not stop by itself')], async () => {
		const answer = await api.rpc('task_cancel', { id: task.id, reason: reason.value || null, force: force.checked }, scope.signal);
		say(answer.message);
	});
}

/* What is left empty stays as it was, which the field says. */
function option(title, before, attributes = {}) {
	const input = h('input', { type: 'text', placeholder: before, ...attributes });
	return { input, label: h('label', { class: 'field' }, title, input), get text() { return input.value.trim() || null; }, get number() { return input.value === '' ? null : Number(input.value); } };
}

function retryDialog(scope, task) {
	const priority = option('Priority, \u2212100 to 100', 'as before: ' + task.priority, { type: 'number', min: -100, max: 100 });
	const queue = option('Queue', 'as before: ' + task.queue);
	const delay = option('Not before, as \u201c10 min\u201d', 'at once');
	const attempts = option('Attempts', 'as before: ' + task.max_attempts, { type: 'number', min: 1 });
	const timeout = option('Timeout, as \u201c5 min\u201d', 'as before: ' + (duration(task.timeout) || 'none'));
	const factor = option('Or the timeout times', '1', { type: 'number', min: 0, step: 'any' });
	const text = JSON.stringify(task.payload, null, 2);
	const payload = h('textarea', { rows: 7, class: 'mono', value: text, spellcheck: 'false' });
	const merged = h('input', { type: 'checkbox', change: () => { payload.value = merged.checked ? '{}' : text; } });
	const other = h('input', { type: 'checkbox' });
	const once = submitter(scope.signal);
	return ask('Retry this task', 'Retry it', false, [h('p', { class: 'soft' }, 'As a new task. What is left empty stays as it was.'), h('div', { class: 'two' }, [priority, queue, delay, attempts, timeout, factor].map((one) => one.label)),
		h('label', { class: 'check' }, other, 'Each attempt on another worker than the one before'),
		h('label', { class: 'field' }, 'Payload (JSON)', payload), h('label', { class: 'check' }, merged, 'Only these members of it are new, the others stay')], async () => {
		const given = jsonOf(payload.value);
		const changed = JSON.stringify(given) !== (merged.checked ? '{}' : JSON.stringify(task.payload)) ? given : null;
		const id = await once('task_retry', { id: task.id, priority: priority.number, queue: queue.text, delay: delay.text, max_attempts: attempts.number, timeout: timeout.text, timeout_factor: factor.number,
			different_worker: other.checked || null, [merged.checked ? 'payload_merge' : 'payload']: changed });
		location.hash = '#/task/' + id;
	});
}

function priorityDialog(scope, task) {
	const priority = h('input', { type: 'number', min: -100, max: 100, value: task.priority, required: true });
	const reason = h('input', { type: 'text', maxlength: 500 });
	return ask('Give it another priority', 'Set priority', false, [h('label', { class: 'field' }, 'Priority, \u2212100 to 100', priority), h('label', { class: 'field' }, 'Reason (is on record)', reason)], async () => {
		const answer = await api.rpc('task_set_priority', { id: task.id, priority: Number(priority.value), reason: reason.value || null }, scope.signal);
		say(answer.new_queue_position ? 'It is at place ' + answer.new_queue_position + ' now.' : 'Its priority is ' + answer.new_priority + '.');
	});
}

/* What was typed, or what is wrong with it. */
function jsonOf(text) {
	try {
		return parse(text);
	} catch (error) {
		throw new Error('The payload is no JSON: ' + error.message);
	}
}

/* A dialog with fields, whose button does it. */
function ask(title, verb, danger, fields, run) {
	const start = h('button', { class: danger ? 'danger' : 'main' }, verb);
	const buttons = h('div', { class: 'row' }, start, h('button', { type: 'button', click: () => dialog.close() }, 'Leave it'));
	const scope = current;
	const dialog = h('dialog', { 'aria-labelledby': 'ask-title', close: () => dialog.remove() }, h('form', { submit: async (event) => {
		event.preventDefault();
		start.disabled = true;
		dialog.querySelectorAll('.note').forEach((old) => old.remove());
		try {
			await run();
			dialog.close();
		} catch (error) {
			if (error.status === 401)
				failed(scope, error);
			else if (!scope.over())
				buttons.before(faultOf(error));
		}
		start.disabled = false;
	} }, h('h2', { id: 'ask-title' }, title), fields, buttons));
	document.body.append(dialog);
	dialog.showModal();
	return dialog;
}

function taskButtons(scope, task, look) {
	const final = FINAL.includes(task.state);
	const button = (title, needs, run, type) => may(needs) && h('button', { type: 'button', class: type, click: run }, title);
	return h('div', { class: 'row' },
		!final && button('Cancel \u2026', 'task_cancel', () => cancelDialog(scope, task).addEventListener('close', () => scope.tried(look)), 'danger'),
		final && button('Retry \u2026', 'task_retry', () => retryDialog(scope, task), 'main'),
		!final && task.state !== 'running' && button('Priority \u2026', 'task_set_priority', () => priorityDialog(scope, task).addEventListener('close', () => scope.tried(look))),
		['scheduled', 'retrying'].includes(task.state) && button('Run now', 'task_run_now', scope.action(() => api.rpc('task_run_now', { id: task.id }, scope.signal), look)),
		final && button('Delete \u2026', 'task_delete', () => ask('Delete this task', 'Delete it', true, h('p', {}, 'With its result, error, attempts and log.'), async () => {
			await api.rpc('task_delete', { id: task.id }, scope.signal);
			say('The task is deleted');
			location.hash = '#/tasks';
		}), 'danger'));
}

/* Who gets no connection to wait with, as too many others wait, looks now and then. */
async function watched(scope, id, seen) {
	try {
		return await api.rpc('task_watch', { id, seen, timeout: '10 s' }, scope.signal);
	} catch (error) {
		if (error.status !== 429 && error.code !== 'PGRST003')
			throw error;
		await scope.sleep(2000);
		return api.rpc('task_progress', { id }, scope.signal);
	}
}

page('task', 'Task', async (scope, id) => {
	const head = h('div', { class: 'card taskhead' });
	const cards = h('div', { class: 'stack' });
	const live = h('div', { class: 'live' });
	const rest = h('div', { class: 'stack' });
	let task = null;
	let told = '';
	let titled = '';
	let was = null;
	let asked = 0;
	let pages = 1;				/* of children */
	let children;				/* how many they are, since when that is known */
	const notes = h('div', {});
	show(scope.main, notes, h('div', { class: 'stack' }, head, cards));

	/* The first ones; how many there are more than these is not counted with each look. */
	async function childrenOf() {
		const n = pages * PAGE;
		const filter = { parent: id };
		const rows = await api.get('rpc/task_list', { filter, order_by: 'oldest', n, select: 'id,state,kind' }, scope.signal);
		if (rows.length < n)
			return { rows, n: rows.length };
		if (!children || Date.now() - children.at > 30000)
			children = { n: await countOf(filter, scope.signal), at: Date.now() };
		return { rows, n: Math.max(children.n, rows.length) };
	}

	function childrenCard({ rows, n }) {
		return relatedCard(rows, 'Children', h('p', { class: 'row' }, (n > rows.length ? 'The first ' + number(rows.length) + ' of ' : '') + countWords(n) + '.',
			n > rows.length && rows.length < MOST && h('button', { type: 'button', click: () => { pages++; scope.tried(details, notes); } }, 'More children'),
			n > PAGE && tasksLink({ parent: id, order: 'oldest' }, 'All of them as a list')));
	}

	async function details() {
		const mine = ++asked;
		const ready = FINAL.includes(task.state);
		const [attempts, explained, family, links, dependencies, retries] = await Promise.all([
			api.get('rpc/task_attempts', { id }, scope.signal),
			ready || task.state === 'running' ? null : api.get('rpc/task_explain', { id }, scope.signal),
			childrenOf(),
			orNothing(api.get('link', { task_id: 'eq.' + id, limit: 100 }, scope.signal), []),
			task.depends_on ? api.get('rpc/task_dependencies', { id }, scope.signal) : null,
			ready ? api.get('rpc/task_list', { filter: { retry_of: id }, n: 20, select: 'id,state,kind' }, scope.signal) : null]);
		const text = JSON.stringify([task, attempts, explained && explained.reasons.map((one) => one.message), family, links, dependencies, retries]);
		/* more was asked for meanwhile */
		if (text === told || mine !== asked)
			return;
		told = text;
		show(rest, h('div', { class: 'grid' }, whyCard(explained && explained.reasons), errorCard(task.error), timeline(task, attempts), factsCard(task), dataCards(task),
			childrenCard(family), relatedCard(dependencies && dependencies.map((one) => ({ id: one.id || one.task_id, state: one.state, kind: one.kind })), 'Waits for, or has waited for'), relatedCard(retries, 'Retries'), linksCard(links)), attemptsCard(attempts), failedSteps(task));
	}

	async function look() {
		task = (await api.get('rpc/task_status', { id }, scope.signal));
		if (task.state === 'running')
			task.duration = null;
		scope.title(task.title || task.kind);
		const top = JSON.stringify([task.state, task.summary, task.priority, task.cancel_requested]);
		if (top !== titled)
			show(head, h('div', { class: 'row grows' }, h('strong', {}, state(task.state)), h('span', { class: 'wrap' }, task.cancel_requested && !FINAL.includes(task.state) && 'Its cancel is under way. ', task.summary)), taskButtons(scope, task, look));
		if (was && was !== task.state)
			say(task.kind + ' is ' + task.state);
		was = task.state;
		titled = top;
		show(live, progressCard(task));
		await details();
	}

	await look();
	append(cards, [live, rest, logCard(scope, id, () => FINAL.includes(task.state))]);
	/* what changes is told at once; the rest is looked at now and then */
	let seen = await api.rpc('task_progress', { id }, scope.signal);
	await scope.sleep(PASSING);
	scope.repeat(50, async () => {
		if (FINAL.includes(task.state)) {
			await scope.sleep(5000);
			await look();
			return;
		}
		const now = await watched(scope, id, seen);
		const changed = JSON.stringify(now) !== JSON.stringify(seen);
		seen = now;
		if (changed && now.state === 'running' && task.state === 'running') {
			Object.assign(task, { progress: now.percent ?? now.progress ?? 0, current: now.current ?? null, total: now.total ?? null, message: now.message ?? null, phase: now.phase ?? null, failed_steps: now.failed ?? null });
			show(live, progressCard(task));
			await scope.sleep(200);
		} else
			await look();
	}, notes);
});
