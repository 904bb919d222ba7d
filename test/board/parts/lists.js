/* Schedules, queues, kinds, workers, alerts, audit; and who sees what of another tenant. */
'use strict';

const { call, fill, has, is, ok, open, press, sql, text, until, window_ } = require('../lib.js');

module.exports = {
	async lists() {
		const page = await window_('operator');
		await open(page, '#/schedules');
		await has(page, 'board_nightly');
		await press(page, 'Disable');
		await has(page, 'disabled', 'main');
		is(sql("SELECT enabled FROM taskq.schedule WHERE name = 'board_nightly'"), 'f', 'a schedule is disabled');
		await press(page, 'Enable');
		await until(async () => sql("SELECT enabled FROM taskq.schedule WHERE name = 'board_nightly'") === 't', '... and enabled');
		const runs = Number(sql("SELECT runs FROM taskq.schedule WHERE name = 'board_nightly'"));
		await press(page, 'Run now');
		await until(async () => Number(sql("SELECT runs FROM taskq.schedule WHERE name = 'board_nightly'")) > runs, '... and run now');
		await open(page, '#/queues');
		await page.waitForSelector('tr[data-key=board_q] button');
		await press(page, 'Pause \u2026', 'tr[data-key=board_q]');
		await fill(page, 'Reason', 'for the test');
		await press(page, 'Pause', 'dialog');
		await has(page, 'for the test', 'tr[data-key=board_q]');
		is(sql("SELECT paused FROM taskq.queue WHERE name = 'board_q'"), 't', 'a queue is paused');
		await press(page, 'Limits \u2026', 'tr[data-key=board_q]');
		await fill(page, 'Running at a time', '2');
		await press(page, 'Set limits', 'dialog');
		await has(page, 'at most 2', 'tr[data-key=board_q]');
		await press(page, 'Resume', 'tr[data-key=board_q]');
		await until(async () => sql("SELECT paused FROM taskq.queue WHERE name = 'board_q'") === 'f', '... and goes on');
		await open(page, '#/kinds');
		await page.waitForSelector('tr[data-key=board_quick] button');
		await press(page, 'Pause \u2026', 'tr[data-key=board_quick]');
		await press(page, 'Pause', 'dialog');
		await has(page, 'paused', 'tr[data-key=board_quick]');
		await press(page, 'Resume', 'tr[data-key=board_quick]');
		await until(async () => sql("SELECT paused FROM taskq.kind WHERE name = 'board_quick'") === 'f', 'a kind is paused and goes on');
		await open(page, '#/workers');
		await has(page, 'internal', 'main');
		await open(page, '#/alerts');
		await has(page, 'board_alert');
		await open(page, '#/audit');
		await has(page, 'for the test', 'main');
		await has(page, 'operator@example.com', 'main tbody');
		await page.browserContext().close();
	},

	async tenants() {
		const id = await call('alice', 'task_submit', { kind: 'board_tenant', delay: '1 hour' });
		const other = await call('bob', 'task_submit', { kind: 'board_tenant', delay: '1 hour' });
		const alice = await window_('alice');
		const bob = await window_('bob');
		const boss = await window_('boss');
		await open(alice, '#/tasks?kind=board_tenant');
		await until(async () => (await alice.content()).includes(id), 'a tenant sees its task');
		await has(alice, '1 task: ', 'main');
		await open(bob, '#/tasks?kind=board_tenant');
		await until(async () => (await bob.content()).includes(other), '... another one its own');
		ok(!(await bob.content()).includes(id), '... and no other one');
		await has(bob, '1 task: ', 'main');
		await open(bob, '#/task/' + id);
		await has(bob, 'does not exist', 'main');
		await open(boss, '#/tasks?kind=board_tenant');
		await press(boss, 'Cancel', '[role=group]');
		await has(boss, '1 task', 'dialog');
		await press(boss, 'Cancel', 'dialog');
		await has(boss, '1 done, 0 refused', 'dialog');
		is(sql("SELECT string_agg(tenant || ' ' || state, ', ' ORDER BY tenant) FROM taskq.task_list('{\"kind\": \"board_tenant\"}')"), 'acme cancelled, other scheduled', 'the operator of a tenant steers what is that tenant\'s');
		await open(alice, '#/');
		await has(alice, 'Queues', 'main');
		await open(alice, '#/queues');
		await has(alice, 'is for operators', 'main');
		sql("SELECT taskq.task_delete('" + id + "')");
		await open(alice, '#/audit?action=delete&object=task');
		await has(alice, 'somebody else', 'main tbody');
		await open(alice, '#/alerts');
		await until(async () => /permission denied|no alerts/.test(await text(alice, 'main')), 'what is not for users is said so');
		for (const one of [alice, bob, boss])
			await one.browserContext().close();
	},
};
