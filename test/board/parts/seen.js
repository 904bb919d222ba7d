/* What a page says to who sees little of it: names, times, narrow windows, large letters, nothing there. */
'use strict';

const { answers, asks, count, has, is, ok, open, press, sql, text, until, window_ } = require('../lib.js');

const LISTS = ['#/tasks', '#/workflows', '#/schedules', '#/queues', '#/kinds', '#/workers', '#/alerts', '#/audit'];

const shown = (page) => page.waitForFunction(() => Array.from(document.querySelectorAll('main tbody tr')).some((one) => one.checkVisibility()));

/* Roles and names, as a screen reader has them. */
async function spoken(page, roles) {
	const found = [];
	const walk = (node) => {
		/* a browser's own button in a field of a date is named by the browser */
		if (roles.includes(node.role) && !/^Show local date/.test(node.name))
			found.push(node.name);
		(node.children || []).forEach(walk);
	};
	walk(await page.accessibility.snapshot({ root: await page.$('main'), interestingOnly: false }));
	return found;
}

module.exports = {
	async names() {
		const page = await window_('operator');
		for (const route of LISTS) {
			await open(page, route);
			await shown(page);
			const names = await spoken(page, ['button', 'checkbox']);
			is(names.filter((name, n) => !name || names.indexOf(name) !== n), [], 'each button has a name of its own: ' + route);
		}
		await open(page, '#/queues');
		await shown(page);
		ok((await spoken(page, ['button'])).includes('Pause \u2026 board_q'), 'a button says of whom', await spoken(page, ['button']));
		await page.focus('tr[data-key=board_q] button');
		sql("SELECT taskq.queue_define('board_q', description => 'another text')");
		await has(page, 'another text', 'tr[data-key=board_q]');
		is(await page.evaluate(() => document.activeElement.closest('tr')?.dataset.key), 'board_q', 'a row that changes keeps the focus');
		is(await page.$$eval('[aria-live]:not([aria-live=off]), [role=status], [role=log]:not([aria-live=off])', (all) => all.filter((one) => one.closest('main')).length), 0, 'a list that changes is not read out');
		await page.browserContext().close();
	},

	async zones() {
		/* of texts, which the server makes */
		const id = sql("SELECT taskq.task_submit('board_quick', run_at => '2035-07-01 12:00+00')");
		const page = await window_('operator');
		for (const [zone, words] of [['America/St_Johns', '2035-07-01 09:30:00-02:30'], ['Asia/Tokyo', '2035-07-01 21:00:00+09']]) {
			await page.emulateTimezone(zone);
			await open(page, '#/task/' + id);
			await has(page, words, 'main ol');
		}
		await page.emulateTimezone('');
		await page.evaluateOnNewDocument(() => {
			const of = Intl.DateTimeFormat.prototype.resolvedOptions;
			Intl.DateTimeFormat.prototype.resolvedOptions = function() { return { ...of.call(this), timeZone: 'Nowhere/At_All' }; };
		});
		await open(page, '#/task/' + id);
		await has(page, '2035-07-01 ', 'main ol');
		await page.browserContext().close();
		sql("SELECT taskq.task_cancel('" + id + "')");
	},

	async times() {
		const page = await window_('operator');
		await page.emulateTimezone('Asia/Kolkata');
		await open(page, '#/audit');
		await shown(page);
		await has(page, 'Times are of Asia/', '#foot');
		const first = () => page.$eval('main time', (node) => node.textContent);
		const title = await page.$eval('main time', (node) => node.title);
		ok(/\.\d{3}.*GMT\+5:30/.test(title), 'the exact time has milliseconds and its zone', title);
		const short = await first();
		ok(short.length < title.length && !/\.\d{3}/.test(short), 'what is shown is short', short);
		await page.$eval('main time', (node) => node.click());
		is(await first(), title, 'pressed, it is exact');
		await page.$eval('main time', (node) => node.click());
		is(await first(), short, '... and short again');
		await page.focus('#foot button');
		await page.keyboard.press('Space');
		is(await first(), title, 'by keyboard all are exact');
		await open(page, '#/');
		await has(page, 'Failed lately', 'main');
		await press(page, 'Exact times');
		await until(async () => (await page.$$eval('main time[title]', (all) => all.length > 0 && all.every((one) => one.textContent === one.title))), '... also those that are told by how long ago');
		await page.browserContext().close();
	},

	async narrow() {
		const page = await window_('operator', { width: 360, height: 740 });
		for (const route of ['#/', ...LISTS]) {
			await open(page, route);
			await shown(page);
			is(await page.$$eval('main .scroll:not(.map)', (all) => all.filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.dataset.name)), [], 'no table is scrolled sideways: ' + route);
		}
		await open(page, '#/queues');
		await shown(page);
		is(await page.$eval('tr[data-key=board_q] td', (cell) => getComputedStyle(cell, '::before').content.startsWith('"Waiting"')), true, 'a cell says what it is');
		is((await spoken(page, ['columnheader'])).includes('Waiting'), true, '... and it is a table still');
		await open(page, '#/tasks');
		await shown(page);
		ok(!(await page.$eval('details.fold', (node) => node.open)), 'the filter makes place');
		await press(page, 'Filter');
		await press(page, 'failed');
		await until(async () => (await page.evaluate(() => location.hash)) === '#/tasks?state=failed', '... until it is wanted');
		await page.browserContext().close();
	},

	async large() {
		const page = await window_('operator');
		const wider = [];
		for (const route of ['#/', ...LISTS]) {
			await open(page, route);
			await shown(page);
			await page.evaluate(() => { document.documentElement.style.fontSize = '30px'; });
			if (await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth))
				wider.push(route);
		}
		is(wider, [], 'letters of twice the size fit');
		await open(page, '#/tasks?state=failed');
		await shown(page);
		await (await page.createCDPSession()).send('Emulation.setEmulatedMedia', { features: [{ name: 'forced-colors', value: 'active' }] });
		const colour = (state) => page.$eval('button[data-state=' + state + ']', (node) => getComputedStyle(node).backgroundColor);
		ok(await colour('failed') !== await colour('running'), 'what is pressed is seen in forced colours');
		await page.browserContext().close();
	},

	async empty() {
		const page = await window_('operator');
		await answers(page);
		const lists = ['queue', 'worker', 'alert', 'schedule', 'kind', 'template', 'audit', 'rpc/task_list', 'rpc/task_counts', 'rpc/statistics_history', 'rpc/statistics_by', 'rpc/queue_estimates'];
		const report = { running: true, paused: false, workers: 0, max_workers: 4, tasks: {}, queues: [], warnings: [], failed: [], why_not_running: null };
		page.answer = (request) => (asks('rpc/sitrep')(request) ? { body: report } : lists.some((name) => new URL(request.url()).pathname.endsWith('/' + name)) ? { body: [] } : null);
		const examples = {};
		for (const route of ['#/', ...LISTS]) {
			await open(page, route);
			await page.waitForFunction(() => Array.from(document.querySelectorAll('main .example')).some((one) => one.checkVisibility()));
			examples[route] = await page.$$eval('main .example', (all) => all.filter((one) => one.checkVisibility()).map((one) => one.textContent));
			ok(examples[route].every((one) => /taskq\./.test(one)), 'nothing yet, and how it comes: ' + route);
		}
		const [flow, template] = examples['#/workflows'];
		const all = ['#/kinds', '#/queues', '#/tasks', '#/schedules', '#/alerts'].map((route) => examples[route][0]).concat(template, flow, examples['#/audit'][0]);
		const made = sql('BEGIN; SET LOCAL client_min_messages = error; ' + all.join('\n') + ' ROLLBACK');
		ok(/^[0-9a-f-]{36}$/m.test(made), 'what is shown there works', made);
		await page.browserContext().close();
	},

	async refused() {
		const page = await window_('alice');
		await open(page);
		await until(async () => !/Alerts/.test(await text(page, 'nav')), 'the menu has no page that is not for the role');
		await open(page, '#/alerts');
		await has(page, 'It is not for your role, web_user', 'main');
		is(await count(page, 'main table:not([hidden])') && await page.$eval('main table', (node) => node.checkVisibility()), false, '... and shows no table then');
		const other = await window_('operator');
		await open(other);
		await has(other, 'Alerts', 'nav');
		await other.browserContext().close();
		await page.browserContext().close();
	},
};
