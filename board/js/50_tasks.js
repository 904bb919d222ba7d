/* Tasks: a filter that is in the address, a page of them, and what can be done to many. */

const PAGE = 50;
const COUNTED = 9999;
const MOST = 1000;				/* rows of a table */
const BULK = 200;				/* tasks in a transaction */
const OUTCOMES = 500;
const NEWS = 99;				/* new tasks that are counted */
const TIMES = { '': 'any time', '15 min': 'last 15 minutes', '1 hour': 'last hour', '24 hours': 'last 24 hours', '7 days': 'last 7 days' };
const SPANS = { '15 min': 900, '1 hour': 3600, '24 hours': 86400, '7 days': 604800 };
const ORDERS = { newest: 'newest first', oldest: 'oldest first', priority: 'by priority', duration: 'longest first' };
const FIELDS = [['kind', 'Kind'], ['category', 'Category'], ['queue', 'Queue'], ['tenant', 'Tenant'], ['tag', 'Tag'], ['submitted_by', 'Submitted by'], ['worker', 'Worker'],
	['parent', 'Parent'], ['workflow', 'Workflow'], ['retry_of', 'Retry of']];
const SORTS = { Submitted: ['newest', 'oldest'], Priority: ['priority'], Took: ['duration'] };
/* words of task_list() for several states */
const GROUPS = ['unfinished', 'waiting', 'finished'];
const ALWAYS = ['kind', 'queue'];

/* Of what is no time the server says so. */
function momentOf(text) {
	const at = new Date(text);
	return isNaN(at) || !/^\d{4}-\d\d-\d\d/.test(text) ? text : at.toISOString();
}

/* What task_list() and task_bulk() take, from the address. */
function filterOf(params) {
	const filter = {};
	for (const [name] of FIELDS)
		if (params.get(name))
			filter[name] = params.get(name);
	if (params.get('state'))
		filter.state = params.get('state').split(',');
	if (params.get('text'))
		filter.text = params.get('text');
	const of = params.get('of') === 'finished' ? 'finished_' : 'created_';
	if (Object.hasOwn(SPANS, params.get('time')))
		filter[of + 'after'] = new Date(now() - SPANS[params.get('time')] * 1000).toISOString();
	for (const [name, member] of [['from', 'after'], ['until', 'before']])
		if (params.get(name))
			filter[of + member] = momentOf(params.get(name));
	return filter;
}

function inWords(params) {
	const said = [params.get('state') ? params.get('state').split(',').join(' or ') + ' tasks' : 'all tasks'];
	for (const [name, title] of FIELDS)
		if (params.get(name))
			said.push(title.toLowerCase() + ' ' + params.get(name));
	if (params.get('text'))
		said.push('with \u201c' + params.get('text') + '\u201d');
	if (Object.hasOwn(SPANS, params.get('time')))
		said.push((params.get('of') === 'finished' ? 'finished in the ' : 'submitted in the ') + TIMES[params.get('time')]);
	for (const [name, word] of [['from', 'since'], ['until', 'until']])
		if (params.get(name))
			said.push(word + ' ' + (isNaN(new Date(params.get(name))) ? params.get(name) : new Date(params.get(name)).toLocaleString()));
	return said.join(', ');
}

function whatNow(task) {
	if (task.error && (task.state === 'failed' || task.state === 'retrying'))
		return clip(task.error.message || '', 1000);
	return task.message || task.cancel_reason || (task.run_at === 'infinity' ? 'held until it is run' : '') || (task.worker && task.state === 'running' ? 'on ' + task.worker : '');
}

function progressOf(task) {
	if (!(task.state === 'running' || task.progress > 0 && task.progress < 100))
		return null;
	return h('div', { class: 'nowrap' }, bar(task.progress, 'Progress of ' + task.kind), ' ', Math.round(task.progress), ' %');
}

/* ---- the form */

function filterForm(params, changed) {
	const options = { kind: [], queue: [], category: [] };
	const lists = Object.keys(options).map((name) => h('datalist', { id: 'list-' + name }));
	const set = (name, value) => {
		if (value === (params.get(name) || ''))
			return;
		if (value)
			params.set(name, value);
		else
			params.delete(name);
		params.delete('past');
		changed();
	};
	const states = (params.get('state') || '').split(',').filter(Boolean);
	const stateButton = (name) => h('button', { type: 'button', 'data-state': name, 'aria-pressed': String(states.includes(name)), click: () => {
		const old = (params.get('state') || '').split(',').filter(Boolean);
		const alike = GROUPS.includes(name) ? [] : old.filter((one) => STATES.includes(one));
		const now = old.includes(name) ? alike.filter((one) => one !== name) : [...alike, name];
		stateBox.querySelectorAll('button').forEach((button) => button.setAttribute('aria-pressed', String(now.includes(button.dataset.state))));
		set('state', now.join(','));
	} }, SIGNS[name] && sign(name), name);
	const stateBox = h('fieldset', {}, h('legend', { class: 'away' }, 'State'),
		h('div', { class: 'row chips' }, STATES.map(stateButton), h('span', { class: 'soft' }, 'or'), GROUPS.map(stateButton)));
	const input = (name, title, type, list) => h('label', { class: 'field' }, title, h('input', { type: type || 'text', value: params.get(name) || '', list: list && 'list-' + list, size: 14,
		change: (event) => set(name, event.currentTarget.value.trim()) }));
	const select = (name, title, choices) => h('label', { class: 'field' }, title, h('select', { name, value: params.get(name) || Object.keys(choices)[0],
		change: (event) => set(name, event.currentTarget.value === Object.keys(choices)[0] ? '' : event.currentTarget.value) },
		Object.entries(choices).map(([value, text]) => h('option', { value }, text))));
	const rare = FIELDS.filter(([name]) => !ALWAYS.includes(name));
	const open = rare.some(([name]) => params.get(name)) || params.get('from') || params.get('until');
	const small = matchMedia('(max-width: 40rem)');
	const fold = h('details', { class: 'fold', open: !small.matches }, h('summary', {}, 'Filter'));
	small.addEventListener('change', () => { fold.open = !small.matches; });
	const form = h('form', { class: 'card', role: 'search', 'aria-label': 'Filter of tasks', submit: (event) => { event.preventDefault(); document.activeElement.blur(); } }, fold);
	append(fold, [lists, stateBox,
		h('div', { class: 'row end' }, input('kind', 'Kind', 'text', 'kind'), input('queue', 'Queue', 'text', 'queue'),
			select('time', 'Time', TIMES), select('of', 'of', { created: 'submit', finished: 'end' }), input('text', 'In id, message or error', 'search'), select('order', 'Order', ORDERS),
			h('a', { href: '#/tasks' }, 'Clear')),
		h('details', { open }, h('summary', {}, 'More'), h('div', { class: 'row end' }, rare.map(([name, title]) => input(name, title, 'text', name === 'category' && name)),
			input('from', 'From', 'datetime-local'), input('until', 'Until', 'datetime-local')))]);
	const order = form.querySelector('select[name=order]');
	return { form, order: (value) => { order.value = value; set('order', value === 'newest' ? '' : value); }, offer: (name, values) => show(lists[Object.keys(options).indexOf(name)], values.filter(Boolean).map((value) => h('option', { value }))) };
}

/* ---- what is done to many */

const ACTIONS = {
	cancel: { title: 'Cancel', asks: ['reason', 'force'], danger: true },
	retry: { title: 'Retry', asks: ['priority', 'reason', 'again'] },
	priority: { title: 'Set priority', asks: ['priority', 'reason'] },
	run_now: { title: 'Run now', asks: ['reason'] },
	delete: { title: 'Delete', asks: ['reason'], danger: true },
};

/* How many a filter finds, at most COUNTED + 1. */
async function countOf(filter, signal) {
	const { headers } = await api.call('rpc/task_list', { query: { filter, n: COUNTED + 1, select: 'id' }, method: 'HEAD', headers: { Prefer: 'count=exact' }, signal, all: true });
	return Number((headers.get('Content-Range') || '*/0').split('/')[1]);
}

function countWords(n) {
	return (n > COUNTED ? 'more than ' + number(COUNTED) : number(n)) + (n === 1 ? ' task' : ' tasks');
}

/* The newest retry of each, of those that have been retried. */
async function retriesOf(ids, signal) {
	const found = new Map();
	for (let left = ids; left.length > 0;) {
		const some = await api.call('rpc/task_list', { method: 'POST', query: { select: 'id,retry_of' }, body: { filter: { retry_of: left }, n: MOST }, signal });
		some.forEach((one) => found.has(one.retry_of) || found.set(one.retry_of, one.id));
		left = some.length < MOST ? [] : left.filter((id) => !found.has(id));
	}
	return found;
}

/* target: { ids } or { filter, words } */
async function bulkDialog(scope, name, target, after) {
	const action = ACTIONS[name];
	const reason = h('input', { type: 'text', maxlength: 500 });
	const force = h('input', { type: 'checkbox' });
	const priority = h('input', { type: 'number', min: -100, max: 100, required: name === 'priority' });
	const result = h('div', { role: 'status' });
	const count = h('p', {}, 'Counting \u2026');
	const start = h('button', { class: action.danger ? 'danger' : 'main', disabled: true }, action.title);
	const stop = h('button', { type: 'button', click: () => {
		if (!busy)
			dialog.close();
		stopped = true;
	} }, 'Close');
	const key = name === 'retry' ? newKey() : undefined;
	const again = h('input', { type: 'checkbox' });
	const outcome = { done: 0, refused: 0, 'left out': 0 };
	const shown = { ...outcome };
	const sums = h('p', {});
	const rows = h('tbody', {});
	const rest = target.ids && [...target.ids];
	let filter = target.filter;
	let last = null;			/* what was done last: who starts again goes on after it */
	let batch = null;			/* what was asked for and not answered: it is asked for again */
	let busy = false;
	let stopped = false;
	const dialog = h('dialog', { 'aria-labelledby': 'bulk-title', close: () => {
		stopped = true;
		dialog.remove();
		if (!scope.over())
			after();
	} },
		h('form', { submit: async (event) => {
			event.preventDefault();
			start.disabled = busy = true;
			stopped = false;
			stop.textContent = 'Stop';
			dialog.querySelectorAll('.note').forEach((old) => old.remove());
			let over = true;
			try {
				over = await run();
			} catch (error) {
				over = false;
				if (error.status === 401)
					failed(scope, error);
				result.append(faultOf(error), unanswered(error) ? h('p', { class: 'note' }, 'What was asked for last may be done all the same' + (key ? '; no task is retried twice if you go on.' : ': look before you go on.')) : '');
			}
			busy = false;
			stop.textContent = 'Close';
			start.disabled = over;
			if (!over)
				start.textContent = 'Go on';
		} }, h('h2', { id: 'bulk-title' }, action.title), count,
			action.asks.includes('priority') && h('label', { class: 'field' }, name === 'retry' ? 'Priority (as before)' : 'Priority, \u2212100 to 100', priority),
			action.asks.includes('reason') && h('label', { class: 'field' }, 'Reason (is on record)', reason),
			action.asks.includes('again') && h('label', { class: 'check' }, again, 'Also those that have been retried before'),
			action.asks.includes('force') && h('label', { class: 'check' }, force, 'Force: end the worker of one that runs'),
			result, h('div', { class: 'row' }, start, stop)));

	/* What is submitted meanwhile, as the new tasks of a retry, is not meant. */
	async function limit() {
		const [newest] = await api.get('rpc/task_list', { filter, n: 1, select: 'created_at' }, scope.signal);
		if (newest)
			filter = { ...filter, created_before: [new Date(new Date(newest.created_at).getTime() + 1).toISOString(), filter.created_before].filter(Boolean).sort()[0] };
		return newest;
	}

	/* Those that are next.  What failed and was retried has failed still, and is not meant, unless that is said. */
	async function next() {
		if (name !== 'retry' || again.checked)
			return rest ? { ids: rest.slice(0, BULK) } : {};
		const ids = rest ? rest.slice(0, BULK) : (await api.get('rpc/task_list', { filter, order_by: 'oldest', n: BULK, after: last, select: 'id' }, scope.signal)).map((task) => task.id);
		const before = await retriesOf(ids, scope.signal);
		return { ids: ids.filter((id) => !before.has(id)), before, last: ids[ids.length - 1] || last, more: ids.length === BULK };
	}

	/* true when all is done */
	async function run() {
		if (!rest && !last && !(await limit()))
			return true;
		for (let more = true; more && !stopped;) {
			batch ??= await next();
			const { ids, before } = batch;
			const found = ids && !ids.length ? [] : await api.rpc('task_bulk', { action: name, ids: ids || null, filter: ids ? null : filter, reason: reason.value || null, force: force.checked,
				priority: priority.value === '' ? null : Number(priority.value), n: ids ? null : BULK, after: ids ? null : last }, scope.signal, key);
			if (rest)
				rest.splice(0, BULK);
			else if (before)
				last = batch.last;
			else if (found.length)
				last = found[found.length - 1].task_id;
			outcomeOf([...before || []].map(([task_id, retry]) => ({ task_id, retry })).concat(found));
			more = rest ? rest.length > 0 : before ? batch.more : found.length === BULK;
			batch = null;
			if (!more) {
				say(sumOf());
				return true;
			}
		}
		return false;
	}

	function sumOf() {
		return number(outcome.done) + ' done, ' + number(outcome.refused) + ' refused' + (outcome['left out'] ? ', ' + number(outcome['left out']) + ' left out' : '');
	}

	/* Of very many the first ones, but those that were refused in any case. */
	function outcomeOf(found) {
		for (const row of found) {
			const of = row.retry ? 'left out' : row.success ? 'done' : 'refused';
			outcome[of]++;
			if (shown[of] === OUTCOMES)
				continue;
			shown[of]++;
			rows.append(h('tr', {}, h('td', {}, taskLink(row.task_id)),
				h('td', { class: 'wrap' }, row.retry ? ['has been retried as ', taskLink(row.retry)] : row.success ? row.new_task_id ? ['retried as ', taskLink(row.new_task_id)] : row.status || 'done' : h('span', { class: 'bad' }, row.error && row.error.message || 'refused'))));
		}
		const more = Object.keys(outcome).filter((of) => outcome[of] > shown[of]);
		show(sums, h('strong', {}, sumOf(), '.'), more.length > 0 && ' The first ' + number(OUTCOMES) + ' of those ' + more.join(' and ') + ':');
		if (!result.contains(sums)) {
			const made = table('Outcome of each task', ['Task', 'Outcome'], []);
			made.querySelector('tbody').replaceWith(rows);
			result.prepend(sums, h('div', { class: 'log' }, made));
		}
	}

	document.body.append(dialog);
	dialog.showModal();
	try {
		const n = target.ids ? target.ids.length : await scope.persist(() => countOf(target.filter, scope.signal));
		show(count, countWords(n), ': ', target.ids ? 'those selected' : target.words, '.');
		start.disabled = n === 0;
	} catch (error) {
		if (error.status === 401)
			failed(scope, error);
		else if (!scope.over())
			show(count, faultOf(error));
	}
	return dialog;
}

/* What is answered, or refused, to a question that nobody asks any more is nothing. */
async function ofNow(promise, over) {
	try {
		const found = await promise;
		return over() ? null : found;
	} catch (error) {
		if (over() && error.status !== 401)
			return null;
		throw error;
	}
}

/* The address of a list that goes on after a task. */
function pastOf(params, id) {
	const to = new URLSearchParams(params);
	to.delete('past');
	if (id)
		to.set('past', id);
	return '#/tasks' + (to.size ? '?' + to : '');
}

/* ---- its order, by headings */

function sortable(grid, order) {
	for (const cell of grid.querySelectorAll('th')) {
		const orders = SORTS[cell.textContent];
		if (orders)
			show(cell, h('button', { type: 'button', class: 'sort', click: () => order(orders.find((one) => one !== grid.dataset.order) || 'newest') }, cell.textContent));
	}
}

function sorted(grid, order) {
	grid.dataset.order = order;
	for (const cell of grid.querySelectorAll('th')) {
		if ((SORTS[cell.textContent] || []).includes(order))
			cell.setAttribute('aria-sort', order === 'oldest' ? 'ascending' : 'descending');
		else
			cell.removeAttribute('aria-sort');
	}
}

/* ---- a task by hand */

async function submitDialog(scope, chosen) {
	const once = submitter(scope.signal);
	const kinds = (await api.get('kind', { select: 'name,description,queue,priority', order: 'name', limit: 1000 }, scope.signal));
	const kind = h('input', { type: 'text', list: 'kinds-there', required: true, value: chosen || '' });
	const payload = h('textarea', { rows: 8, class: 'mono', value: '{}', spellcheck: 'false' });
	const [queue, priority, delay, tags] = ['as the kind says', 'as the kind says', 'none', 'none'].map((placeholder, n) => h('input', n === 1 ? { type: 'number', min: -100, max: 100, placeholder } : { type: 'text', placeholder }));
	ask('Submit a task', 'Submit it', false, [h('datalist', { id: 'kinds-there' }, kinds.map((one) => h('option', { value: one.name }, one.description))),
		h('label', { class: 'field' }, 'Kind of the task', kind), h('label', { class: 'field' }, 'Payload (JSON)', payload),
		h('div', { class: 'two' }, h('label', { class: 'field' }, 'In queue', queue), h('label', { class: 'field' }, 'With priority', priority),
			h('label', { class: 'field' }, 'Not before, as \u201c10 min\u201d', delay), h('label', { class: 'field' }, 'Tags, by comma', tags))], async () => {
		const words = tags.value.split(',').map((one) => one.trim()).filter(Boolean);
		const id = await once('task_submit', { kind: kind.value.trim(), payload: jsonOf(payload.value), queue: queue.value.trim() || null, priority: priority.value === '' ? null : Number(priority.value),
			delay: delay.value.trim() || null, tags: words.length ? words : null });
		location.hash = '#/task/' + id;
	});
}

/* ---- the page */

page('tasks', 'Tasks', async (scope, argument, params) => {
	const chosen = new Set();
	let tasks = [];
	let wanted = 1;				/* pages of them */
	let turn = 0;				/* of the filter */
	let asked = 0;
	let answered = 0;
	let top = null;				/* the newest that is shown, while newer ones would move what is read */
	const notes = h('div', {});
	const { form, offer, order } = filterForm(params, () => { setParams(params); begin(); });
	const body = h('tbody', {});
	const all = h('input', { type: 'checkbox', 'aria-label': 'Select all that are shown', change: () => {
		for (const task of tasks)
			chosen[all.checked ? 'add' : 'delete'](task.id);
		body.querySelectorAll('input').forEach((box) => { box.checked = all.checked; });
		chosenChanged();
	} });
	const counted = h('p', { role: 'status' }, '\u00a0');
	const more = h('button', { type: 'button', hidden: true, click: scope.action(async () => { wanted++; await look(); }) }, 'More tasks');
	const further = h('a', {}, 'Go on after these');
	const rest = h('span', { class: 'soft', hidden: true }, 'No more than ' + number(MOST) + ' are shown at once. ', further);
	const before = h('p', { class: 'soft', hidden: !params.get('past') }, 'Those before these are not shown. ', h('a', { href: pastOf(params, '') }, 'From the beginning'));
	const news = h('button', { type: 'button', class: 'main news', hidden: true, click: () => {
		window.scrollTo(0, 0);
		scope.tried(() => look(true), notes);
	} });
	const which = h('strong', {});
	const nobody = h('button', { type: 'button', hidden: true, click: () => chooseNone() }, 'Select none');
	const target = () => chosen.size > 0 ? { ids: [...chosen] } : { filter: filterOf(params), words: inWords(params) };
	const steered = may('task_bulk');
	const selected = steered && h('div', { class: 'row card sticky', role: 'group', 'aria-label': 'What to do with tasks' }, which,
		Object.entries(ACTIONS).map(([name, action]) => h('button', { type: 'button', class: action.danger && 'danger',
			click: () => bulkDialog(scope, name, target(), () => { chooseNone(); scope.tried(look, notes); }) }, action.title)), nobody);
	const grid = table('Tasks', ['', 'State', 'Task', 'Kind', ['Queue', 'rare'], ...(seesTenants() ? [['Tenant', 'rare']] : []), ['Priority', 'number rare'], 'What', 'Submitted', ['Took', 'number']], []);
	grid.querySelector('table').classList.add('tasks', ...(steered ? [] : ['seen']));
	sortable(grid, order);
	grid.querySelector('th').replaceChildren(all);
	grid.querySelector('tbody').replaceWith(body);
	grid.hidden = true;
	const none = h('p', { hidden: true }, 'There are no such tasks.');
	const first = h('div', { class: 'nothing', hidden: true }, nothingYet('tasks', 'There are no tasks yet. One of a kind that is there is submitted by:'));
	show(scope.main, h('div', { class: 'stack' }, form, notes, selected, h('div', { class: 'card' }, h('div', { class: 'row between' }, counted,
		may('task_submit') && h('button', { type: 'button', click: () => scope.tried(() => submitDialog(scope, params.get('kind')), notes) }, 'Submit a task \u2026')), before, grid, none, first, h('p', {}, more, rest)), news));

	function row(task) {
		return h('tr', {},
			h('td', {}, h('input', { type: 'checkbox', checked: chosen.has(task.id), 'aria-label': 'Select ' + task.kind + ' ' + task.id, change: (event) => {
				chosen[event.currentTarget.checked ? 'add' : 'delete'](task.id);
				chosenChanged();
			} })),
			h('td', {}, state(task.state)), h('td', {}, taskLink(task.id)), h('td', { class: 'entry' }, task.kind, task.category && h('div', { class: 'soft' }, task.category)), h('td', { class: 'wrap rare' }, task.queue), seesTenants() && h('td', { class: 'wrap tight rare' }, task.tenant), h('td', { class: 'number rare' }, task.priority),
			h('td', { class: 'text' }, progressOf(task), task.what, task.due && ['due ', ago(task.due)], task.retry && h('div', {}, 'retried as ', taskLink(task.retry))),
			h('td', {}, time(task.created_at)), h('td', { class: 'number' }, task.since ? since(task.since) : duration(task.duration)));
	}

	function forRow({ error, message, worker, cancel_reason, run_at, started_at, finished_at, ...task }) {
		const what = whatNow({ ...task, error, message, worker, cancel_reason, run_at });
		return { ...task, what, duration: finished_at ? task.duration : null, since: task.state === 'running' ? started_at : null,
			due: ['scheduled', 'retrying'].includes(task.state) && run_at !== 'infinity' ? run_at : null };
	}

	function chosenChanged() {
		all.checked = chosen.size > 0 && tasks.every((task) => chosen.has(task.id));
		all.indeterminate = chosen.size > 0 && !all.checked;
		show(which, chosen.size > 0 ? number(chosen.size) + ' selected:' : 'All that match:');
		nobody.hidden = chosen.size === 0;
	}

	function chooseNone() {
		chosen.clear();
		body.querySelectorAll('input').forEach((box) => { box.checked = false; });
		chosenChanged();
	}

	/* Somebody reads further down, or has selected some. */
	function reads() {
		return (params.get('order') || 'newest') === 'newest' && !params.get('past') && tasks.length > 0 && (chosen.size > 0 || body.getBoundingClientRect().top < 0);
	}

	/* Up to the newest that is shown, and how many have come since then. */
	async function newer(filter, over) {
		const last = top;
		const at = new Date(last.created_at).getTime();
		const since = [new Date(at).toISOString(), filter.created_after].filter(Boolean).sort().pop();
		const found = await ofNow(api.get('rpc/task_list', { filter: { ...filter, created_after: since }, n: NEWS + 1, select: 'id' }, scope.signal), over);
		const n = found ? found.filter((task) => task.id > last.id).length : 0;
		news.hidden = n === 0 || top !== last;
		news.textContent = (n > NEWS ? 'More than ' + NEWS : n) + (n === 1 ? ' new task' : ' new tasks');
		return { ...filter, created_before: [new Date(at + 1).toISOString(), filter.created_before].filter(Boolean).sort()[0] };
	}

	async function look(all) {
		const mine = ++asked;
		const over = () => mine < answered;
		top = all !== true && reads() ? top || tasks[0] : null;
		news.hidden ||= !top;
		const filter = top ? await newer(filterOf(params), over) : filterOf(params);
		sorted(grid, params.get('order') || 'newest');
		const n = Math.min(wanted * PAGE, MOST);
		const found = await ofNow(api.get('rpc/task_list', { filter, order_by: params.get('order') || 'newest', n, after: params.get('past'),
			select: 'id,state,kind,category,queue,tenant,run_at,started_at,priority,progress,message,worker,created_at,finished_at,duration,error,cancel_reason' }, scope.signal), over);
		/* a later question was answered before */
		if (!found)
			return undefined;
		const retries = await ofNow(retriesOf(found.filter((task) => ['failed', 'cancelled'].includes(task.state)).map((task) => task.id), scope.signal), over);
		if (!retries)
			return undefined;
		answered = mine;
		/* what runs changes with each look: its time is the reader's business */
		tasks = found.map((task) => forRow({ ...task, retry: retries.get(task.id) }));
		showKeyed(body, tasks, (task) => task.id, row);
		more.hidden = tasks.length < n || n === MOST;
		rest.hidden = tasks.length < MOST;
		if (!rest.hidden)
			further.href = pastOf(params, tasks[MOST - 1].id);
		grid.hidden = tasks.length === 0;
		first.hidden = !grid.hidden || params.size > 0;
		none.hidden = !grid.hidden || !first.hidden;
		return JSON.stringify(tasks);
	}

	async function count() {
		const asked = turn;
		const n = await ofNow(countOf(filterOf(params), scope.signal), () => asked !== turn);
		if (n !== null)
			show(counted, countWords(n), ': ', inWords(params), '.');
	}

	function begin() {
		turn++;
		wanted = 1;
		chooseNone();
		/* what was shown is of another filter, and so is what was asked */
		answered = ++asked;
		tasks = [];
		before.hidden = true;
		show(body);
		show(counted);
		scope.tried(look, notes);
		scope.tried(count, counted);
	}

	chosenChanged();
	/* "the last hour" is of the server's clock */
	if (!api.clocked && params.get('time'))
		await scope.persist(() => api.get('queue', { select: 'name', limit: 1 }, scope.signal));
	scope.live(3000, look, notes);
	scope.repeat(30000, count, counted);
	const [kinds, queues] = await scope.persist(() => Promise.all([api.get('kind', { select: 'name,category' }, scope.signal), api.get('queue', { select: 'name', limit: 1000 }, scope.signal)]));
	offer('kind', kinds.map((kind) => kind.name));
	offer('category', [...new Set(kinds.map((kind) => kind.category))]);
	offer('queue', queues.map((queue) => queue.name));
});
