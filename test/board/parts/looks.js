/* axe-core, and three widths. */
'use strict';

const axe = require('fs').readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const { has, is, open, sql, until, window_ } = require('../lib.js');

module.exports = {
	async looks() {
		const running = sql("SELECT taskq.task_submit('board_long')");
		await until(async () => sql("SELECT state FROM taskq.task_status('" + running + "')") === 'running', 'something runs');
		const failed = sql("SELECT id FROM taskq.task_list('{\"kind\": \"board_hostile\", \"state\": \"failed\"}', n => 1)");
		const flow = sql("SELECT workflow FROM taskq.task WHERE kind = 'board_step' LIMIT 1");
		const routes = ['#/', '#/tasks', '#/task/' + running, '#/task/' + failed, '#/workflow/' + flow, '#/workflows', '#/schedules', '#/queues', '#/kinds', '#/workers', '#/alerts', '#/audit'];
		const wider = { 360: [], 1280: [], 2560: [] };
		const measure = async (page, route, width) => {
			if (await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth))
				wider[width].push(route);
		};
		/* light ones are opened at 1280 pixels, dark ones at 360, and made wider */
		for (const dark of [false, true]) {
			const page = await window_('operator', { dark });
			for (const route of routes) {
				if (dark)
					await page.setViewport({ width: 360, height: 900 });
				await open(page, route);
				await page.waitForFunction(() => document.querySelectorAll('main td, main dd, main .soft').length > 2);
				if (dark) {
					await measure(page, route, 360);
					await page.setViewport({ width: 1280, height: 900 });
				} else
					await measure(page, route, 1280);
				await page.evaluate(axe + '; null').catch(() => {});
				if (!(await page.evaluate(() => typeof window.axe)).includes('object'))
					await (await page.createCDPSession()).send('Runtime.evaluate', { expression: axe });
				const found = await page.evaluate(async () => (await window.axe.run(document, { resultTypes: ['violations'] })).violations.map((one) =>
					one.impact + ' ' + one.id + ': ' + one.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(' | ')));
				is(found.filter((one) => /^(serious|critical)/.test(one)), [], 'accessible: ' + route.replace(/[0-9a-f-]{36}/, '\u2026') + (dark ? ', dark' : ''));
				if (dark) {
					await page.setViewport({ width: 2560, height: 900 });
					await measure(page, route, 2560);
				}
			}
			await page.browserContext().close();
		}
		for (const [width, found] of Object.entries(wider))
			is(found, [], 'nothing is wider than ' + width + ' pixels');
		const page = await window_(null);
		await open(page);
		await has(page, 'Log in');
		await page.evaluate(axe + '; null').catch(() => {});
		is(await page.evaluate(async () => (await window.axe.run()).violations.map((one) => one.id)), [], 'accessible: the log-in');
		await page.browserContext().close();
	},
};
