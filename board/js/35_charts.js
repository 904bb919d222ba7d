/* Two charts of what statistics_history() has: what ended, and how long it took. */

const HIGH = 150;
const LEFT = 46;
const BOTTOM = 18;

/* A number not below the highest one that is easy to read. */
function roof(highest) {
	const power = 10 ** Math.floor(Math.log10(highest || 1));
	return [1, 2, 5, 10].map((step) => step * power).find((value) => value >= highest) || 1;
}

/* ... and of seconds */
const ROUND = [10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 57600, 86400];

function roofOfTimes(highest) {
	if (highest <= 5)
		return roof(highest);
	return ROUND.find((value) => value >= highest) || roof(highest / 86400) * 86400;
}

/* wide: of the place, in pixels, so that its text is as large as elsewhere */
function frame(wide, label, top, format, from, to, marks) {
	const x = (at) => LEFT + (at - from) / (to - from || 1) * (wide - LEFT - 6);
	const y = (value) => HIGH - BOTTOM - value / top * (HIGH - BOTTOM - 12);
	const lines = (top < 0.002 || top === 1 ? [0, top] : [0, top / 2, top]).map((value) => [svg('line', { class: 'axis', x1: LEFT, x2: wide, y1: y(value), y2: y(value) }),
		svg('text', { x: LEFT - 5, y: y(value) + 4, 'text-anchor': 'end' }, format(value))]);
	const times = [0, 0.5, 1].map((part) => svg('text', { x: x(from + part * (to - from)), y: HIGH - 3, 'text-anchor': ['start', 'middle', 'end'][part * 2] },
		new Date(from + part * (to - from)).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })));
	return svg('svg', { class: 'chart', viewBox: '0 0 ' + wide + ' ' + HIGH, role: 'img', 'aria-label': label }, lines, times, marks(x, y));
}

/* rows of statistics_history, a span in ms, and from when to when */
function endedChart(wide, rows, span, from, to) {
	const top = roof(Math.max(1, ...rows.map((row) => row.completed + row.failed + row.cancelled)));
	const sum = (name) => rows.reduce((all, row) => all + row[name], 0);
	const label = number(sum('completed')) + ' completed, ' + number(sum('failed')) + ' failed, ' + number(sum('cancelled')) + ' cancelled';
	return [frame(wide, label, top, (value) => number(value), from, to, (x, y) => rows.map((row) => {
		const at = new Date(row.at).getTime();
		const thick = Math.max(1, x(at + span) - x(at) - 1);
		const bad = row.failed + row.cancelled;
		return svg('g', {}, svg('title', {}, new Date(at).toLocaleString() + ': ' + row.completed + ' completed, ' + row.failed + ' failed, ' + row.cancelled + ' cancelled'),
			svg('rect', { class: 'good', x: x(at), width: thick, y: y(row.completed + bad), height: y(bad) - y(row.completed + bad) }),
			bad > 0 && svg('rect', { class: 'bad', x: x(at), width: thick, y: y(bad), height: y(0) - y(bad) }));
	})), h('p', { class: 'soft' }, h('span', { class: 'key' }), ' completed ', h('span', { class: 'key bad' }), ' failed or cancelled \u2013 ', label, '.')];
}

function timesChart(wide, rows, span, from, to) {
	const lines = [['mean_run', 'line', 'mean run time'], ['p95_wait', 'line second', '95 % waited at most']];
	const top = roofOfTimes(Math.max(0.001, ...rows.flatMap((row) => lines.map(([name]) => seconds(row[name]) || 0))));
	const known = rows.filter((row) => row.mean_run !== null);
	const last = known[known.length - 1];
	const text = last ? 'last: ' + duration(last.mean_run) + ', waited ' + (duration(last.p95_wait) || 'unknown') : 'nothing has ended';
	return [frame(wide, 'Times, ' + text, top, words, from, to, (x, y) => lines.map(([name, type]) => {
		const points = rows.filter((row) => row[name] !== null).map((row) => [x(new Date(row.at).getTime() + span / 2), y(seconds(row[name]))]);
		return points.length > 1 ? svg('polyline', { class: type, points: points.map((point) => point.map((one) => one.toFixed(1)).join(',')).join(' ') })
			: points.map(([at, value]) => svg('circle', { class: type, cx: at, cy: value, r: 2 }));
	})), h('p', { class: 'soft' }, lines.map(([, type, name]) => [h('span', { class: 'key ' + type }), ' ', name, ' ']), '\u2013 ', text, '.')];
}
