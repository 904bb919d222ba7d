/* A workflow as a graph: steps from left to right, each after those that it waits for. */

const BOX = { wide: 210, high: 58, gapX: 60, gapY: 20 };

/* Columns of steps: one more than the last of those it depends on. */
function levelsOf(steps) {
	const byName = new Map(steps.map((step) => [step.name, step]));
	const byId = new Map(steps.map((step) => [step.id, step]));
	const levels = new Map();
	const level = (step, seen) => {
		if (levels.has(step))
			return levels.get(step);
		if (seen.has(step))
			return 0;
		seen.add(step);
		const before = step.depends_on.map((name) => byName.get(name)).filter(Boolean);
		const parent = step.parent && byId.get(step.parent);
		const result = Math.max(-1, ...before.map((one) => level(one, seen)), parent ? level(parent, seen) : -1) + 1;
		levels.set(step, result);
		return result;
	};
	steps.forEach((step) => level(step, new Set()));
	return levels;
}

function clip(text, letters) {
	return text.length > letters ? text.slice(0, letters - 1) + '\u2026' : text;
}

/* Many steps are smaller boxes, and a level of very many is several columns. */
const MANY = 40;
const COLUMN = 24;

/* Where each step is, in columns from left to right; a frame is around a level of several. */
function placesOf(steps, box) {
	const levels = levelsOf(steps);
	const columns = [];
	for (const step of steps)
		(columns[levels.get(step)] ||= []).push(step);
	const places = new Map();
	let x = 4;
	let rows = 1;
	for (const level of columns) {
		const parts = Math.ceil(level.length / COLUMN);
		const each = Math.ceil(level.length / parts);
		const frame = parts > 1 && { steps: level, x: x - 8, y: 1, wide: parts * (box.wide + 16), high: each * (box.high + box.gapY) - box.gapY + 6 };
		level.forEach((step, n) => places.set(step, { level: levels.get(step), frame, far: n >= each, x: x + Math.floor(n / each) * (box.wide + 16), y: (n % each) * (box.high + box.gapY) + 4 }));
		x += parts * (box.wide + 16) - 16 + box.gapX;
		rows = Math.max(rows, each);
	}
	return { places, wide: x - box.gapX + 4, high: rows * (box.high + box.gapY) - box.gapY + 8 };
}

/* Whom each step waits for; the parent of one that waits for nobody. */
function waitsFor(steps) {
	const byName = new Map(steps.map((step) => [step.name, step]));
	const byId = new Map(steps.map((step) => [step.id, step]));
	return new Map(steps.map((step) => {
		const before = step.depends_on.map((name) => byName.get(name)).filter(Boolean);
		const parent = !before.length && step.parent && byId.get(step.parent);
		return [step, { before: parent ? [parent] : before, child: Boolean(parent) }];
	}));
}

/* a, b: places of steps, or frames */
function arrowOf(a, b, box, type) {
	const middleOf = (one, other) => one.high ? Math.max(box.high / 2, Math.min(one.high - box.high / 2, other.y + box.high / 2)) : one.y + box.high / 2;
	const y1 = middleOf(a, b);
	const y2 = middleOf(b, a);
	const right = a.x + (a.wide || box.wide);
	const from = Math.max(right, b.x - box.gapX);
	const middle = b.x - box.gapX / 2;
	return svg('path', { class: 'arrow' + type, d: 'M' + right + ' ' + y1 + ' H' + from + ' C' + middle + ' ' + y1 + ' ' + middle + ' ' + y2 + ' ' + (b.x - 2) + ' ' + y2 });
}

/*
 * All arrows, and frames.  Where a whole level in a frame waits for one, or one for the whole level,
 * one arrow says so; those of its steps would go under other columns, and are seen at their step only.
 */
function arrowsOf(steps, places, waits, box, drawn) {
	const frames = new Set(steps.map((step) => places.get(step).frame).filter(Boolean));
	const common = new Map();
	for (const frame of frames)
		common.set(frame, new Set(frame.steps.map((step) => waits.get(step).before).reduce((all, some) => {
			const those = new Set(some);
			return all.filter((one) => those.has(one));
		})));
	const ends = new Map();			/* what one arrow for many goes from, and to */
	const all = [];
	for (const step of steps) {
		const { before, child } = waits.get(step);
		const type = child ? ' child' : '';
		const b = places.get(step);
		const n = new Map();
		before.forEach((from) => n.set(places.get(from).frame, (n.get(places.get(from).frame) || 0) + 1));
		for (const from of before) {
			const a = places.get(from);
			const start = a.frame && n.get(a.frame) === a.frame.steps.length ? a.frame : a;
			const end = b.frame && common.get(b.frame).has(from) ? b.frame : b;
			const many = start !== a || end !== b;
			const line = arrowOf(a, b, box, type + (many ? ' part' : b.far ? ' far' : ''));
			all.push(line);
			drawn(from, step, line);
			if (many && !ends.get(start)?.has(end)) {
				ends.set(start, (ends.get(start) || new Set()).add(end));
				all.push(arrowOf(start, end, box, type));
			}
		}
	}
	return [[...frames].map((one) => svg('rect', { class: 'frame', x: one.x, y: one.y, width: one.wide, height: one.high, rx: 10 })), all];
}

function stepWords(step) {
	return (step.title || step.name || step.kind) + ': ' + step.state + (step.state === 'running' ? ', ' + Math.round(step.progress) + ' %' : '') + (step.error ? ', ' + step.error : '');
}

/* One step: a link, of which the text is cut off by the browser where it is too long. */
function stepBox(at, box) {
	const title = svg('title', {});
	const rect = svg('rect', { x: at.x, y: at.y, width: box.wide, height: box.high, rx: 8 });
	const done = svg('rect', { class: 'done', x: at.x + 10, y: at.y + box.high - 8, height: 4, rx: 2 });
	const name = h('div', { class: 'name' });
	const sub = h('div', { class: 'sub' });
	const link = svg('a', { tabindex: -1 }, title, rect, svg('foreignObject', { x: at.x + 10, y: at.y + 3, width: box.wide - 20, height: box.high - 10 }, name, sub), done);
	const fill_ = (step) => {
		link.setAttribute('href', '#/task/' + step.id);
		title.textContent = textOf(stepWords(step));
		rect.setAttribute('class', 'box ' + step.state);
		done.setAttribute('width', Math.max(0, (box.wide - 20) * step.progress / 100));
		name.textContent = textOf(step.title || step.name || step.kind);
		show(sub, state(step.state), step.state === 'running' && ' ' + Math.round(step.progress) + ' %', step.message && ' \u2013 ' + step.message);
	};
	return { link, fill: fill_ };
}

/*
 * The steps as a graph.  One stop of Tab's: arrows go along what waits for what, and up and down
 * in a column; + and - and 0 zoom.  update(steps) changes what has changed, and nothing else.
 */
function graphOf(steps) {
	const box = steps.length > MANY ? { wide: 190, high: 46, gapX: 70, gapY: 8 } : BOX;
	const { places, wide, high } = placesOf(steps, box);
	const waits = waitsFor(steps);
	const after = new Map(steps.map((step) => [step, []]));
	const lines = new Map(steps.map((step) => [step, []]));
	const arrows = arrowsOf(steps, places, waits, box, (from, step, line) => {
		after.get(from).push(step);
		lines.get(from).push(line);
		lines.get(step).push(line);
	});
	const boxes = new Map(steps.map((step) => [step, stepBox(places.get(step), box)]));
	const graph = svg('svg', { class: 'graph', viewBox: '0 0 ' + wide + ' ' + high, role: 'group', 'aria-label': 'Steps of the workflow' }, arrows, steps.map((step) => boxes.get(step).link));
	const near = (step, is) => lines.get(step).forEach((line) => line.classList.toggle('near', is));
	const only = (step) => boxes.forEach((one, other) => one.link.setAttribute('tabindex', other === step ? 0 : -1));
	const beside = (step, by) => {
		const place = places.get(step);
		const column = steps.filter((other) => places.get(other).level === place.level);
		return column[column.indexOf(step) + by];
	};
	const ways = { ArrowRight: (step) => after.get(step)[0], ArrowLeft: (step) => waits.get(step).before[0], ArrowDown: (step) => beside(step, 1), ArrowUp: (step) => beside(step, -1), Home: () => steps[0], End: () => steps[steps.length - 1] };
	for (const [step, { link }] of boxes) {
		link.addEventListener('pointerenter', () => near(step, true));
		link.addEventListener('pointerleave', () => near(step, false));
		link.addEventListener('blur', () => near(step, false));
		link.addEventListener('focus', () => {
			only(step);
			near(step, true);
			link.scrollIntoView({ block: 'nearest', inline: 'nearest' });
		});
		link.addEventListener('keydown', (event) => {
			const to = ways[event.key] && !event.ctrlKey && !event.altKey && ways[event.key](step);
			if (ways[event.key])
				event.preventDefault();
			if (to)
				boxes.get(to).link.focus();
		});
	}
	if (steps.length)
		only(steps[0]);
	return { graph, wide, high, update: (now) => now.forEach((step, n) => boxes.get(steps[n]).fill(step)) };
}

/* ... in a place that is scrolled, with buttons that make it larger and smaller. */
function graphCard() {
	const place = h('div', { class: 'scroll map', 'data-name': 'Graph' });
	SCROLLED.observe(place);
	let made = null;
	let known = '';
	let zoom = 1;
	const size = (to) => {
		zoom = Math.min(2, Math.max(0.1, to));
		made.graph.style.width = Math.round(made.wide * zoom) + 'px';
		made.graph.style.height = Math.round(made.high * zoom) + 'px';
		said.textContent = Math.round(zoom * 100) + ' %';
	};
	const fit = () => size(Math.min(1, place.clientWidth / made.wide, Math.max(place.clientHeight, 0.6 * innerHeight) / made.high));
	const said = h('span', { class: 'soft' });
	const ways = { '+': () => size(zoom * 1.25), '-': () => size(zoom / 1.25), 0: () => size(1) };
	const button = (name, words, run) => h('button', { type: 'button', 'aria-label': words, click: run }, name);
	const all = h('section', { class: 'card', 'aria-label': 'Graph', hidden: true, keydown: (event) => {
		if (ways[event.key] && !event.ctrlKey && !event.metaKey)
			ways[event.key]();
	} }, h('div', { class: 'row zoom' }, button('\u2212', 'Smaller', ways['-']), button('+', 'Larger', ways['+']), button('Fit', 'Fit all of it', () => fit()), button('1:1', 'Full size, 1:1', ways[0]), said), place);
	return { all, show(steps) {
		const now = JSON.stringify(steps.map((step) => [step.id, step.name, step.depends_on, step.parent]));
		if (now !== known) {
			known = now;
			made = graphOf(steps);
			show(place, made.graph);
			SCROLLED.observe(made.graph);
			all.hidden = false;
			/* the whole of it, where that can be read */
			size(Math.max(innerWidth < 640 ? 0.8 : 0.7, Math.min(1, place.clientWidth / made.wide)));
		}
		made.update(steps);
	} };
}

function forStepRow(step) {
	const { id, name, title, kind, state: now, attempt, depends_on: before, error, reason, message } = step;
	return { id, name: title || name || kind, state: now, attempt, before, what: error || reason || message };
}

/* Of many that it waits for, some. */
function stepRow(step) {
	return h('tr', {}, h('th', { scope: 'row', class: 'entry' }, step.name), h('td', {}, state(step.state)), h('td', {}, taskLink(step.id)), h('td', { class: 'number' }, step.attempt),
		h('td', { class: 'wrap' }, clip(step.before.join(', '), 200)), h('td', { class: 'wrap' }, step.what));
}

page('workflow', 'Workflow', (scope, id) => {
	const head = h('div', { class: 'card taskhead' });
	const graph = graphCard();
	const list = h('tbody', {});
	const steps = card('Steps', filled('Steps', ['Step', 'State', 'Task', ['Attempt', 'number'], 'Waits for', 'What'], list));
	steps.hidden = head.hidden = true;
	let told = '';
	const notes = h('div', {});
	show(scope.main, notes, h('div', { class: 'stack' }, head, graph.all, steps));

	async function look() {
		const flow = await api.get('rpc/workflow_status', { id }, scope.signal);
		const text = JSON.stringify(flow);
		if (text === told)
			return told;
		told = text;
		scope.title('Workflow ' + (flow.name || flow.template || id.slice(0, 8)));
		const n = flow.steps.filter((step) => step.state === 'failed').length;
		show(head, h('div', { class: 'row grows' }, h('strong', {}, state(flow.state)), h('span', { class: 'nowrap' }, bar(flow.progress, 'Progress of the workflow'), ' ', Math.round(flow.progress), ' % of ', number(flow.steps_total), ' steps'),
			n > 0 && h('span', { class: 'bad' }, number(n), ' failed')),
			across(['Submitted', time(flow.created_at)], ['Ended', time(flow.finished_at)], ['Expected end', flow.estimated_end && time(flow.estimated_end)]),
			h('div', { class: 'row' }, !flow.ready && may('workflow_cancel') && h('button', { type: 'button', class: 'danger', click: () => {
				const reason = h('input', { type: 'text', maxlength: 500 });
				ask('Cancel this workflow', 'Cancel it', true, [h('label', { class: 'field' }, 'Reason (is on record)', reason)],
					() => api.rpc('workflow_cancel', { id, reason: reason.value || null }, scope.signal)).addEventListener('close', () => scope.tried(look, notes));
			} }, 'Cancel \u2026'), flow.ready && flow.state !== 'completed' && may('workflow_retry') && h('button', { type: 'button', class: 'main',
				click: scope.action(() => api.rpc('workflow_retry', { id }, scope.signal), look) }, 'Retry what failed')));
		steps.hidden = head.hidden = false;
		graph.show(flow.steps);
		showRows(list, flow.steps.map(forStepRow), (step) => step.id, stepRow);
		return told;
	}

	scope.repeat(2000, look, notes);
});
