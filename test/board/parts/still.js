/* What is read and pressed stays where it is: when a page opens, and when something happens. */
'use strict';

const { has, handled, is, ok, open, sql, until, where, window_ } = require('../lib.js');

/* The browser's own sum of what has moved without anybody having done anything. */
const moved = (page) => page.evaluate(() => Math.round(window.moved * 1000) / 1000);

async function stillWindow(options) {
	const page = await window_('operator', options);
	await page.evaluateOnNewDocument(() => {
		window.moved = 0;
		new PerformanceObserver((list) => list.getEntries().forEach((entry) => { window.moved += entry.hadRecentInput ? 0 : entry.value; })).observe({ type: 'layout-shift', buffered: true });
	});
	return page;
}

module.exports = {
	async still() {
		const running = sql("SELECT taskq.task_submit('board_long')");
		await until(async () => sql("SELECT state FROM taskq.task_status('" + running + "')") === 'running', 'something runs');
		const failed = sql("SELECT id FROM taskq.task_list('{\"kind\": \"board_hostile\", \"state\": \"failed\"}', n => 1)");
		const flow = sql("SELECT workflow FROM taskq.task WHERE kind = 'board_step' LIMIT 1");
		/* a page, and what it asks for again and again */
		const routes = { '#/': 'rpc/sitrep', '#/tasks': 'rpc/task_list', ['#/task/' + failed]: 'rpc/task_status', ['#/workflow/' + flow]: 'rpc/workflow_status', '#/workflows': 'rpc/task_list', '#/schedules': '/schedule',
			'#/queues': '/queue', '#/kinds': '/kind', '#/workers': '/worker', '#/alerts': '/alert', '#/audit': '/audit' };
		for (const width of [360, 1280]) {
			const page = await stillWindow({ width, pace: 20 });
			for (const [route, asked] of Object.entries(routes)) {
				await open(page, route);
				await handled(page, asked, 3);
				const by = await moved(page);
				ok(by < 0.05, 'still at ' + width + ': ' + route.replace(/[0-9a-f-]{36}/, '\u2026'), 'moved by ' + by);
			}
			await page.browserContext().close();
		}
		sql("SELECT taskq.task_cancel('" + running + "')");
	},

	/* a warning that comes and goes, and the connection */
	async notices() {
		const page = await stillWindow({ pace: 20 });
		await open(page);
		await has(page, 'Needs attention', 'main');
		await handled(page, 'statistics_history');
		const place = () => page.$$eval('.counts, .charts, main table', (all) => all.map((one) => Math.round(one.getBoundingClientRect().top)));
		const before = await place();
		sql("SELECT taskq.queue_pause('board_outside', 'for the test')");
		await has(page, 'Queue board_outside is paused', '.attention');
		is(await place(), before, 'a warning moves nothing');
		sql("SELECT taskq.queue_resume('board_outside')");
		await until(async () => !(await page.$eval('.attention', (node) => node.innerText)).includes('is paused and 1 task'), 'it goes');
		await page.setOfflineMode(true);
		await has(page, 'The connection is lost', '#notice');
		is(await place(), before, 'a lost connection moves nothing');
		await page.setOfflineMode(false);
		await until(async () => (await page.$eval('#notice', (node) => node.innerText)) === '', 'it is back');
		is(await where(page), '#/', 'it is the same page');
		await page.browserContext().close();
	},
};
