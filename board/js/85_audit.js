/* Audit: who did what, filtered by what is in the address, back to the beginning. */

const ACTS = 200;				/* in a page */
const MOST_ACTS = 2000;			/* in the table */
const LOOKED = 20000;			/* acts that a filter is asked of at once */
const LATE = 600000;			/* a transaction may take so long to commit what it did, ms */
const VERBS = ['cancel', 'retry', 'delete', 'priority', 'reschedule', 'run', 'clear', 'pause', 'resume', 'define', 'limit', 'drop', 'grant', 'revoke', 'enable', 'disable', 'stop', 'restart', 'submit'];
const OBJECTS = ['task', 'workflow', 'queue', 'kind', 'schedule', 'template', 'worker', 'tenant', 'alert', 'database'];
const AN_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/* An act's id begins with its time: by it one finds a time in an index. */
function idAt(ms) {
	const hex = Math.max(0, Math.floor(ms)).toString(16).padStart(12, '0').slice(-12);
	return hex.slice(0, 8) + '-' + hex.slice(8) + '-0000-0000-000000000000';
}

function timeOfId(id) {
	return new Date(parseInt(id.slice(0, 8) + id.slice(9, 13), 16));
}

/* As PostgREST reads them within and=(...). */
function quoted(text) {
	return '"' + text.replace(/["\\]/g, '\\$&') + '"';
}

function containing(text) {
	return quoted('*' + text.replace(/[\\%_]/g, '\\$&') + '*');
}

/* Conditions on time; of what is no time the server says so. */
function whenOf(params) {
	const said = [];
	if (Object.hasOwn(SPANS, params.get('time')))
		said.push('id.gte.' + idAt(now() - SPANS[params.get('time')] * 1000));
	for (const [name, operator] of [['from', 'gte'], ['until', 'lt']]) {
		const at = params.get(name) && momentOf(params.get(name));
		if (at)
			said.push(isNaN(new Date(at)) ? 'created_at.' + operator + '.' + quoted(at) : 'id.' + operator + '.' + idAt(new Date(at).getTime()));
	}
	return said;
}

/* ... and on what it was. */
function whatOf(params) {
	const said = [];
	const who = params.get('who');
	const text = params.get('text');
	if (who)
		said.push('or(' + ['role', ...['sub', 'email', 'name', 'preferred_username'].map((claim) => 'claims->>' + claim)].map((what) => what + '.eq.' + quoted(who)).join(',') + ')');
	for (const name of ['action', 'object'])
		if (params.get(name))
			said.push(name + '.eq.' + quoted(params.get(name)));
	if (text)
		said.push(AN_ID.test(text) ? 'task_id.eq.' + text : 'or(' + ['reason', 'name', 'kind', 'outcome'].map((name) => name + '.ilike.' + containing(text)).join(',') + ')');
	return said;
}

function auditForm(params, changed) {
	const set = (name) => (event) => {
		const value = event.currentTarget.value.trim();
		if (value === (params.get(name) || ''))
			return;
		if (value)
			params.set(name, value);
		else
			params.delete(name);
		changed();
	};
	const input = (name, title, type) => h('label', { class: 'field' }, title, h('input', { type: type || 'text', value: params.get(name) || '', size: 14, change: set(name) }));
	const select = (name, title, choices) => h('label', { class: 'field' }, title, h('select', { value: params.get(name) || '', change: set(name) }, choices.map(([value, text]) => h('option', { value }, text))));
	const any = (list) => [['', 'any'], ...list.map((one) => [one, one])];
	return h('form', { class: 'card', role: 'search', 'aria-label': 'Filter of the audit', submit: (event) => { event.preventDefault(); document.activeElement.blur(); } },
		h('div', { class: 'row end' }, input('who', 'Who'), select('action', 'What', any(VERBS)), select('object', 'Of', any(OBJECTS)), select('time', 'Time', Object.entries(TIMES)),
			input('from', 'From', 'datetime-local'), input('until', 'Until', 'datetime-local'), input('text', 'In reason, name, kind or outcome; a task\u2019s id', 'search'), h('a', { href: '#/audit' }, 'Clear')));
}

/* Values before and after, and what else is told. */
function detailWords(details) {
	return Object.entries(Object(details)).slice(0, 20).map(([name, value]) => {
		const [old, fresh] = value && typeof value === 'object' && !Array.isArray(value) ? [value.old, value.new] : [];
		const text = (one) => clip(one === undefined || one === null ? 'none' : typeof one === 'string' ? one : JSON.stringify(one), 200);
		return old !== undefined || fresh !== undefined ? name + ': ' + text(old) + ' \u2192 ' + text(fresh) : name + ': ' + text(value);
	}).join(', ');
}

/* What a person is called may be his own choice; whose rights he had is not. */
function actorOf(item) {
	const person = personOf(item.claims);
	const rest = [person && item.role, item.tenant && (person ? 'of ' : '') + item.tenant].filter(Boolean).join(' ');
	return [person || item.role || h('span', { class: 'soft' }, 'somebody else'), rest && h('div', { class: 'soft' }, rest)];
}

function actRow(item) {
	return h('tr', {}, h('td', {}, time(item.created_at)), h('td', { class: 'wrap' }, actorOf(item)),
		h('td', {}, item.action, item.force && ' (force)'), h('td', { class: 'wrap' }, item.object, ' ', item.task_id ? taskLink(item.task_id, item.kind || undefined) : item.name || item.kind),
		h('td', { class: 'number' }, item.count ? number(item.count) : ''), h('td', { class: 'wrap' }, item.reason),
		h('td', { class: 'wrap' }, item.outcome, item.details && h('div', { class: 'soft' }, detailWords(item.details))));
}

page('audit', 'Audit', (scope, argument, params) => {
	const notes = h('div', {});
	const body = h('tbody', { role: 'rowgroup' });
	const none = h('div', {});
	const counted = h('p', { role: 'status' }, '\u00a0');
	const more = h('button', { type: 'button', hidden: true, click: scope.action(() => whole ? further() : earlier()) });
	let acts;					/* by id */
	let turn = 0;				/* of the filter */
	let begun;					/* the first page is there */
	let looked;					/* when they were looked at last */
	let floor;					/* so far back the filter was asked; null: to the beginning */
	let depth;
	let whole;					/* all since then are there */
	show(scope.main, auditForm(params, () => { setParams(params); begin(); scope.tried(look, notes); }), notes, counted,
		h('div', { class: 'card list' }, filled('Audit', ['When', 'Who', 'What', 'Of', ['Tasks', 'number'], 'Reason', 'Outcome'], body, none), h('p', {}, more)));

	function got(conditions, query) {
		return api.get('audit', { order: 'id.desc', ...query, and: conditions.length ? '(' + conditions.join(',') + ')' : null }, scope.signal);
	}

	/* Where to end: a filter that finds nothing must not read all there is. */
	async function floorBelow(id) {
		if (!whatOf(params).length || AN_ID.test(params.get('text') || ''))
			return null;
		const [at] = await got([...whenOf(params), ...id ? ['id.lt.' + id] : []], { select: 'id', limit: 1, offset: depth });
		depth = Math.min(depth * 2, LOOKED * 8);
		return at ? at.id : null;
	}

	function asked(conditions) {
		return got([...whenOf(params), ...whatOf(params), ...floor ? ['id.gte.' + floor] : [], ...conditions], { limit: ACTS });
	}

	function take(found) {
		found.forEach((act) => acts.set(act.id, act));
		const all = [...acts.values()].sort((a, b) => a.id < b.id ? 1 : -1);
		showRows(body, all, (act) => act.id, actRow);
		const full = all.length >= MOST_ACTS;
		more.hidden = full || whole && !floor;
		more.textContent = whole ? 'Look further back' : 'Earlier ones';
		const words = number(all.length) + (all.length === 1 ? ' act' : ' acts') + (whole && floor ? ' since ' + timeOfId(floor).toLocaleString() : whole ? '' : ', the newest') + (full ? ': choose a time for earlier ones.' : '.');
		if (counted.textContent !== words)
			show(counted, words);
		return JSON.stringify(all.map((act) => act.id));
	}

	async function look() {
		const mine = turn;
		const at = now();
		if (!begun && floor === undefined) {
			const found = await floorBelow(null);
			if (mine !== turn)
				return undefined;
			floor = found;
		}
		const found = await asked(begun ? ['id.gte.' + idAt(looked - LATE)] : []);
		if (mine !== turn)
			return undefined;
		/* more has been done than was seen */
		if (begun && found.length === ACTS && !found.some((act) => acts.has(act.id))) {
			begin();
			return look();
		}
		if (!begun)
			whole = found.length < ACTS;
		begun = true;
		looked = at;
		return take(found);
	}

	async function earlier() {
		const mine = turn;
		const last = [...acts.keys()].reduce((a, b) => a < b ? a : b);
		const found = await asked(['id.lt.' + last]);
		if (mine !== turn)
			return;
		whole = found.length < ACTS;
		take(found);
		say(number(found.length) + ' more');
	}

	async function further() {
		const mine = turn;
		const from = floor;
		const next = await floorBelow(from);
		if (mine !== turn)
			return;
		floor = next;
		const found = await asked(['id.lt.' + from]);
		if (mine !== turn)
			return;
		whole = found.length < ACTS;
		take(found);
		say(number(found.length) + ' more');
	}

	function begin() {
		turn++;
		acts = new Map();
		begun = whole = false;
		floor = undefined;
		depth = LOOKED;
		show(body);
		show(none, params.size ? 'Nothing of that is on record.' : nothingYet('audit', 'Nothing is on record. What people change is, with who, when and why:'));
		show(counted, '\u00a0');
		more.hidden = true;
	}

	begin();
	scope.repeat(5000, look, notes);
});
