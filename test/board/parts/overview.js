/* The overview. */
'use strict';

const { count, fill, has, is, open, press, sql, text, until, window_ } = require('../lib.js');

module.exports = {
	async overview() {
		const page = await window_('operator');
		await open(page);
		const completed = async () => Number((await text(page, '.counts [data-key=completed] b')).replace(/\D/g, '') || -1);
		const before = Number(sql("SELECT sum(n) FROM taskq.task_counts() WHERE state = 'completed'"));
		await until(async () => (await completed()) === before, 'counts by state');
		const loaded = await page.evaluate(() => performance.timeOrigin);
		sql("SELECT taskq.task_submit_many('board_quick', array_fill('{}'::jsonb, ARRAY[3]))");
		await until(async () => (await completed()) === before + 3, 'follow what happens');
		is(await page.evaluate(() => performance.timeOrigin), loaded, '... without loading the page again');
		await has(page, 'no external worker asks for');
		await has(page, 'board_outside', 'main');
		await until(async () => (await count(page, 'svg.chart rect')) > 0, 'a chart of what ended');
		await press(page, 'Last 24 hours');
		await until(async () => (await text(page, 'button[aria-pressed=true]')) === 'Last 24 hours', 'of a day, too');
		await until(async () => /quiet/.test(await text(page, 'main')) && /board_alert/.test(await text(page, 'main')), 'alerts with their state');
		await press(page, 'Pause everything \u2026');
		await fill(page, 'Reason', 'board test');
		await press(page, 'Pause everything', 'dialog');
		await has(page, 'Paused.');
		is(sql('SELECT paused FROM taskq.server'), 't', '... in the database');
		await press(page, 'Resume everything');
		await has(page, 'Tasks are run');
		await page.browserContext().close();
	},
};
