/* What is shown of times, numbers and states. */

const STATES = ['blocked', 'scheduled', 'pending', 'reserved', 'running', 'retrying', 'completed', 'failed', 'cancelled'];

/* Drawn, in 16 by 16: a font may lack them. */
const ROUND_SIGN = 'M8 2a6 6 0 1 0 .01 0z';
const SIGNS = {
	blocked: 'M3.5 3v10M8 5.5L11 8L8 10.5M6.5 8H11M14 3v10',
	scheduled: ROUND_SIGN + 'M8 4.6V8l2.4 1.6',
	pending: ROUND_SIGN,
	reserved: ROUND_SIGN + 'M8 8V4.5A3.5 3.5 0 0 1 11.5 8z',
	running: 'M4.5 3v10l8.5-5z',
	retrying: 'M13.3 9.5A5.5 5.5 0 1 1 12 4.2M12.6 1.2v3.4H9.2',
	completed: 'M2.5 8.8l3.8 3.8 7.2-9',
	failed: 'M3.5 3.5l9 9M12.5 3.5l-9 9',
	cancelled: ROUND_SIGN + 'M3.8 12.2l8.4-8.4',
	paused: 'M5.5 3v10M10.5 3v10',
	firing: 'M8 2L14.5 13.5H1.5zM8 6.5v3M8 11.2v.4',
};

function sign(name) {
	return svg('svg', { class: 'sign ' + name, viewBox: '0 0 16 16', 'aria-hidden': 'true' }, svg('path', { d: SIGNS[name] || ROUND_SIGN }));
}

function state(name) {
	return h('span', { class: 'state ' + name }, sign(name), name);
}

function pausedSign() {
	return h('span', { class: 'state warned' }, sign('paused'), 'paused');
}

function number(value) {
	return value === null || value === undefined ? '' : new Intl.NumberFormat().format(typeof value === 'object' ? value.rawJSON : value);
}

/* PostgreSQL's interval, as text, in seconds. */
function seconds(text) {
	if (text === null || text === undefined)
		return null;
	let sum = 0;
	const units = { year: 31557600, mon: 2592000, day: 86400 };
	for (const part of String(text).matchAll(/(-?\d+) (year|mon|day)s?/g))
		sum += part[1] * units[part[2]];
	const clock = /(-?)(\d+):(\d\d):(\d\d(?:\.\d+)?)/.exec(text);
	if (clock)
		sum += (clock[1] ? -1 : 1) * (clock[2] * 3600 + clock[3] * 60 + Number(clock[4]));
	return sum;
}

function words(value) {
	if (value === null || value === undefined)
		return '';
	if (value < 0)
		return '\u2212' + words(-value);
	if (value < 0.0005)
		return value > 0 ? '< 1 ms' : '0';
	if (value < 0.9995)
		return Math.round(value * 1000) + ' ms';
	if (value < 59.95)
		return (value < 9.95 && value % 1 ? value.toFixed(1) : Math.round(value)) + ' s';
	const [big, small, by, [one, two]] = value < 3600 ? [value / 60, value, 60, ['min', 's']]
		: value < 86400 ? [value / 3600, value / 60, 60, ['h', 'min']] : [value / 86400, value / 3600, 24, ['d', 'h']];
	return Math.floor(big) + ' ' + one + (big < 100 && Math.floor(small % by) ? ' ' + Math.floor(small % by) + ' ' + two : '');
}

function duration(text) {
	return words(seconds(text));
}

/* In the reader's zone; exactly on hover, and if it is pressed. */
function time(text) {
	if (!text)
		return null;
	if (text === 'infinity')
		return 'held';
	if (text === '-infinity')
		return 'at once';
	const at = new Date(text);
	if (isNaN(at))
		return h('time', { class: 'nowrap' }, text);
	const today = at.toDateString() === new Date(now()).toDateString();
	return moment(text, 'short', today ? AT.today.format(at) : at.getFullYear() === new Date(now()).getFullYear() ? AT.day.format(at) : AT.year.format(at));
}

const AT = Object.fromEntries(Object.entries({
	today: { hour: '2-digit', minute: '2-digit', second: '2-digit' },
	day: { month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit' },
	year: { year: 'numeric', month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit' },
	exact: { year: 'numeric', month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, timeZoneName: 'short' },
}).map(([name, options]) => [name, new Intl.DateTimeFormat(undefined, options)]));

const ZONE = AT.exact.resolvedOptions().timeZone;

/* To the millisecond, with its zone. */
function exact(text) {
	return AT.exact.format(new Date(text));
}

/* All of them are exact, if the reader wants that. */
let exactly = false;

/* A time, of which text says what is shown when it need not be exact. */
function moment(text, type, words) {
	const at = exact(text);
	return h('time', { datetime: text, title: at, class: 'nowrap', 'data-is': type, 'data-short': words }, exactly ? at : words);
}

/* By a button for all, or by pressing on one: who has no pointer to rest on it sees it, too. */
function showTimes(all, wanted) {
	for (const node of all)
		node.textContent = wanted ? node.title : node.dataset.is === 'short' ? node.dataset.short : timeWords(node);
}

document.addEventListener('click', (event) => {
	const node = event.target.closest && event.target.closest('time[title]');
	if (node && !node.closest('a, button'))
		showTimes([node], node.textContent !== node.title);
});

function zone() {
	return ['Times are of ' + ZONE + '. ', h('button', { type: 'button', 'aria-pressed': String(exactly), click: (event) => {
		exactly = !exactly;
		event.currentTarget.setAttribute('aria-pressed', String(exactly));
		showTimes(document.querySelectorAll('time[title]'), exactly);
	} }, 'Exact times')];
}

/* Of now by the server's clock: the reader's may be wrong. */
function ago(text) {
	if (!text)
		return null;
	return isNaN(new Date(text)) ? time(text) : moment(text, 'ago', fromNow(text));
}

function fromNow(text) {
	const past = (now() - new Date(text)) / 1000;
	return past > -0.5 ? words(Math.max(Math.floor(past), 1)).split(' ').slice(0, 2).join(' ') + ' ago' : 'in ' + words(-past);
}

/* How long it has been so. */
function since(text) {
	return text && h('time', { datetime: text, class: 'nowrap', 'data-is': 'since' }, soFar(text));
}

function soFar(text) {
	return words(Math.max(1, Math.floor((now() - new Date(text)) / 1000)));
}

/* They go on by themselves: what has not changed otherwise is not made anew. */
setInterval(() => {
	if (document.hidden)
		return;
	for (const node of document.querySelectorAll('time[data-is=ago], time[data-is=since]')) {
		const text = timeWords(node);
		if (node.textContent !== text && node.textContent !== node.title)
			node.textContent = text;
	}
}, 1000);

function timeWords(node) {
	return (node.dataset.is === 'ago' ? fromNow : soFar)(node.dateTime);
}

function bytes(value) {
	if (value === null || value === undefined)
		return '';
	let unit = 0;
	while (value >= 1024 && unit < 4) {
		value /= 1024;
		unit++;
	}
	return (unit && value < 10 ? value.toFixed(1) : Math.round(value)) + ' ' + ['B', 'kB', 'MB', 'GB', 'TB'][unit];
}

function bar(percent, label, long) {
	return h('progress', { max: 100, value: percent, class: long && 'long', 'aria-label': label }, percent + ' %');
}

function taskLink(id, text) {
	return h('a', { href: '#/task/' + id, class: 'mono nowrap', title: id }, text || id.slice(0, 8) + '\u2026' + id.slice(-6));
}

function tasksLink(filter, ...children) {
	return h('a', { href: '#/tasks?' + new URLSearchParams(filter) }, children);
}

/* More letters than anybody reads make a browser slow. */
const READABLE = 50000;

async function copy(text) {
	if (navigator.clipboard) {
		await navigator.clipboard.writeText(text);
		return;
	}
	/* over http: */
	const area = h('textarea', { class: 'away', value: text });
	document.body.append(area);
	area.select();
	const done = document.execCommand('copy');
	area.remove();
	if (!done)
		throw new Error('refused');
}

/* JSON or text, with a button that copies it. */
function readable(value, name) {
	const text = typeof value === 'string' ? value : JSON.stringify(value, null, 2);
	const place = h('pre', { tabindex: 0, 'aria-label': name }, text.slice(0, READABLE));
	const button = h('button', { type: 'button', click: async () => {
		try {
			await copy(text);
			button.firstChild.textContent = 'Copied';
			say(name + ' is copied');
		} catch {
			say('The browser does not let it be copied');
		}
	} }, 'Copy', h('span', { class: 'away' }, ' ' + name));
	const rest = text.length > READABLE && h('button', { type: 'button', click: () => {
		place.textContent = plain(text);
		rest.remove();
	} }, 'Show all ' + number(text.length) + ' letters');
	return [place, h('p', { class: 'row' }, button, rest)];
}
