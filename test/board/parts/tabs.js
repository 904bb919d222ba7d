/* Two tabs of one person. */
'use strict';

const { closed, has, is, open, press, sql, text, tick, until, where, window_ } = require('../lib.js');

module.exports = {
	async tabs() {
		sql("SELECT taskq.task_submit_many('board_held', array_fill('{}'::jsonb, ARRAY[3]), run_at => 'infinity', tags => '{tabs}')");
		const one = await window_('operator');
		const two = await window_('operator', { beside: one });
		for (const page of [one, two])
			await open(page, '#/tasks?tag=tabs');
		const chosen = await tick(one, 2);
		await has(one, '2 selected', 'main');
		await two.bringToFront();
		is(await tick(two, 1), [chosen[0]], 'both select the same task');
		await press(two, 'Cancel', '[role=group]');
		await press(two, 'Cancel', 'dialog');
		await has(two, '1 done, 0 refused', 'dialog');
		await closed(two);
		await one.bringToFront();
		await until(async () => (await text(one, 'tr[data-key="' + chosen[0] + '"]')).includes('cancelled'), 'the one sees what the other has done');
		await has(one, '2 selected', 'main');
		await press(one, 'Cancel', '[role=group]');
		await press(one, 'Cancel', 'dialog');
		await has(one, '1 done, 1 refused', 'dialog');
		await until(async () => (await text(one, 'dialog tbody tr:has(a[href="#/task/' + chosen[0] + '"])')).includes('cancelled'), '... and the outcome names it');
		await closed(one);
		await two.bringToFront();
		await press(two, 'Log out');
		await has(two, 'With a token');
		await one.bringToFront();
		await open(one, '#/queues');
		await has(one, 'board_q', 'main');
		is(await where(one), '#/queues', 'who logs out does so in his tab');
		await one.browserContext().close();
	},
};
