/* Elements.  What comes from the database becomes text, never markup. */

function fill(node, attributes) {
	for (const [name, value] of Object.entries(attributes || {})) {
		if (value === null || value === undefined || value === false)
			continue;
		if (typeof value === 'function')
			node.addEventListener(name, value);
		else if (name === 'value' || name === 'checked' || name === 'indeterminate')
			node[name] = value;
		else
			node.setAttribute(name, value === true ? '' : value);
	}
}

/* What turns a line around, or steers a terminal, is shown and not done. */
function plain(text) {
	return text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, (letter) => '\\u' + letter.charCodeAt(0).toString(16).padStart(4, '0'));
}

/* Of what is no text, too: an object may have a member toString. */
function textOf(value) {
	const text = typeof value === 'object' ? JSON.stringify(value) : String(value);
	return plain(text.length > READABLE ? text.slice(0, READABLE) + '\u2026' : text);
}

function append(node, children) {
	for (const child of children.flat(Infinity)) {
		if (child === null || child === undefined || child === false)
			continue;
		node.append(child instanceof Node ? child : textOf(child));
	}
	return node;
}

/* h('a', { href: '#/', click: handler }, 'text', another element, ...) */
function h(tag, attributes, ...children) {
	const node = document.createElement(tag);
	append(node, children);
	fill(node, attributes);		/* a select has its value once it has options */
	return node;
}

function svg(tag, attributes, ...children) {
	const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
	fill(node, attributes);
	return append(node, children);
}

const TAKES_FOCUS = 'a, button, input, select, textarea, summary, [tabindex]';

/* What had the focus gives it to what takes its place. */
function keepFocus(node, redraw) {
	const active = document.activeElement;
	const at = node.contains(active) && node !== active ? Array.from(node.querySelectorAll(TAKES_FOCUS)).indexOf(active) : -1;
	const words = at >= 0 && active.textContent;
	const made = redraw();
	if (at >= 0) {
		const all = Array.from(made.querySelectorAll(TAKES_FOCUS));
		(all.find((one) => words && one.textContent === words) || all[at])?.focus({ preventScroll: true });
	}
	return made;
}

function show(node, ...children) {
	return keepFocus(node, () => {
		node.replaceChildren();
		return append(node, children);
	});
}

/* What is shown by an element of showKeyed(). */
const SHOWN = new WeakMap();

/* Rows of a table or items of a list by key: what stays the same element keeps focus and selection. */
function showKeyed(parent, items, key, make) {
	const old = new Map();
	for (const child of Array.from(parent.children)) {
		if (old.has(child.dataset.key))
			child.remove();
		else
			old.set(child.dataset.key, child);
	}
	const used = new Set();
	let place = parent.firstElementChild;
	for (const item of items) {
		let name = String(key(item));
		while (used.has(name))
			name += '+';
		used.add(name);
		const text = JSON.stringify(item);
		let node = old.get(name);
		old.delete(name);
		if (!node || SHOWN.get(node) !== text) {
			const fresh = make(item);
			fresh.dataset.key = name;
			label(fresh, parent);
			SHOWN.set(fresh, text);
			if (node) {
				if (place === node)
					place = fresh;
				keepFocus(node, () => {
					node.replaceWith(fresh);
					return fresh;
				});
			}
			node = fresh;
		}
		if (node === place)
			place = place.nextElementSibling;
		else
			parent.insertBefore(node, place);
	}
	for (const node of old.values())
		node.remove();
}

/* Said to who cannot see it. */
function say(text) {
	document.getElementById('said').textContent = text;
}

function card(title, ...children) {
	const id = 'h' + (++card.last);
	return h('section', { class: 'card', 'aria-labelledby': id }, h('h2', { id }, title), children);
}
card.last = 0;

/* Where there is no place for columns, each cell says what it is; roles, as layout takes them away. */
function label(row, body) {
	const made = row.localName === 'tr' && body.closest('table');
	if (!made)
		return;
	row.setAttribute('role', 'row');
	Array.from(row.cells).forEach((cell, n) => {
		cell.dataset.label = made.tHead.rows[0].cells[n]?.textContent || '';
		cell.setAttribute('role', cell.localName === 'th' ? 'rowheader' : 'cell');
	});
	/* fifty buttons "Pause" are none: of whom is said to who cannot see the row */
	const name = row.querySelector('th[scope=row]')?.firstChild?.textContent;
	if (name)
		row.querySelectorAll('button').forEach((button) => button.append(h('span', { class: 'away' }, ' ' + name)));
}

/* What is wider than its place is scrolled, also by keyboard; the rest is no stop of Tab's. */
const SCROLLED = new ResizeObserver((all) => {
	for (const box of new Set(all.map((one) => one.target.closest('.scroll')).filter(Boolean))) {
		const wide = box.scrollWidth > box.clientWidth + 1;
		for (const [name, value] of [['tabindex', 0], ['role', 'region'], ['aria-label', box.dataset.name]])
			wide ? box.setAttribute(name, value) : box.removeAttribute(name);
	}
});

/* columns: [heading, class] or heading */
function table(caption, columns, rows) {
	const body = h('tbody', { role: 'rowgroup' });
	const made = h('table', { role: 'table' }, h('caption', { class: 'away' }, caption),
		h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, columns.map((column) => {
			const [text, type] = Array.isArray(column) ? column : [column];
			return h('th', { scope: 'col', class: type, role: 'columnheader' }, text || h('span', { class: 'away' }, 'Actions'));
		}))), body);
	append(body, rows);
	Array.from(body.rows).forEach((row) => label(row, body));
	const box = h('div', { class: 'scroll', 'data-name': caption }, made);
	SCROLLED.observe(box);
	SCROLLED.observe(made);
	return box;
}

function pairs(...list) {
	return h('dl', {}, list.filter((pair) => pair && pair[1] !== null && pair[1] !== undefined && pair[1] !== '')
		.map(([name, ...values]) => [h('dt', {}, name), h('dd', {}, values)]));
}

/* The same side by side, where there is place. */
function across(...list) {
	const made = pairs(...list);
	made.classList.add('across');
	const names = Array.from(made.children);
	made.replaceChildren(...names.filter((one) => one.localName === 'dt').map((one) => h('div', {}, one, names[names.indexOf(one) + 1])));
	return made;
}

/* A table of which body is filled again and again; nothing: said when it is empty */
function filled(caption, columns, body, nothing) {
	const made = table(caption, columns, []);
	made.querySelector('tbody').replaceWith(body);
	made.hidden = true;
	return h('div', {}, made, nothing && h('div', { class: 'nothing', hidden: true }, nothing));
}

function showRows(body, items, key, make) {
	showKeyed(body, items, key, make);
	const made = body.closest('.scroll');
	made.hidden = items.length === 0;
	if (made.nextElementSibling)
		made.nextElementSibling.hidden = !made.hidden;
}
