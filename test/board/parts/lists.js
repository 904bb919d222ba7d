/* Schedules, queues, kinds, workers, alerts, audit; and who sees what of another tenant. */
'use strict';

const { answers, asks, call, fill, go, has, is, ok, open, press, site, sql, text, until, window_ } = require('../lib.js');

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

	/* Buttons and pages are there for who may. */
	async rights() {
		const names = (page, inside) => page.$$eval(inside + ' button', (all) => [...new Set(all.filter((one) => one.checkVisibility()).map((one) => one.firstChild.textContent))].sort());
		const pages = (page) => page.$$eval('nav a', (all) => all.map((one) => one.textContent).join(' '));
		const submit = 'Submit \u2026';
		const limits = 'Limits \u2026';
		const pause = 'Pause \u2026';
		const steer = ['Cancel', 'Delete', 'Retry', 'Run now', 'Set priority'];
		const wanted = {
			operator: ['Overview Tasks Workflows Schedules Queues Kinds Workers Audit Alerts', [limits, pause], [limits, pause, submit], ['Disable', 'Run now'], ['Pause everything \u2026'], steer, [submit]],
			boss: ['Overview Tasks Workflows Schedules Queues Kinds Workers Audit', [], [submit], [], [], steer, [submit]],
			alice: ['Overview Tasks Workflows Schedules Queues Kinds Workers Audit', [], [submit], [], [], steer, [submit]],
			worker: ['Overview Tasks Queues Kinds Workers Audit', [], [], [], [], [], []],
			monitor: ['Overview Tasks Workflows Schedules Queues Kinds Workers Audit Alerts', [], [], [], [], [], []],
		};
		sql("CREATE ROLE board_owner; CREATE ROLE board_monitor; GRANT board_owner, board_monitor TO authenticator; GRANT taskq_developer, taskq_web TO board_owner; GRANT taskq_monitor TO board_monitor");
		Object.assign(site.tokens, { owner: sql("SELECT auth.token('board_owner', 'owner', 'acme')"), monitor: sql("SELECT auth.token('board_monitor', 'monitor')") });
		sql("SELECT taskq.queue_resume('board_many'), taskq.kind_grant('board_outside', 'web_worker', 'work')");
		for (const [who, [menu, queues, kinds, schedules, all, tasks, templates]] of Object.entries(wanted)) {
			const page = await window_(who);
			await open(page, '#/queues');
			await has(page, 'board_q', 'main tbody');
			is([await pages(page), await names(page, 'main')], [menu, queues], who + ': pages, and what is done to queues');
			await go(page, '#/kinds');
			await has(page, 'board_outside', 'main tbody');
			is(await names(page, 'main'), kinds, '... to kinds');
			if (menu.includes('Schedules')) {
				await go(page, '#/schedules');
				await page.waitForSelector('main .card:not([hidden])');
				is(await names(page, 'main'), schedules, '... to schedules');
				await go(page, '#/workflows');
				await has(page, 'board_analysis', 'main');
				is(await names(page, 'main table[role=table]:has([data-key=board_analysis])'), templates, '... to templates');
			}
			await go(page, '#/');
			await has(page, 'Queues', 'main');
			is(await names(page, '.situation'), all, '... to everything');
			await go(page, '#/tasks?kind=board_held');
			await page.waitForFunction(() => /tasks?: all tasks|tasks?: /.test(document.querySelector('main [role=status]').textContent));
			is(await page.$$eval('[role=group] button', (nodes) => nodes.filter((one) => one.checkVisibility()).map((one) => one.textContent).sort()), tasks, '... to tasks');
			await page.browserContext().close();
		}

		/* an owner of a kind has the buttons of his */
		sql("SET ROLE board_owner; SELECT taskq.kind_define('board_owned', queue => 'board_outside')");
		const page = await window_('owner');
		await open(page, '#/kinds');
		await has(page, 'board_outside', 'main tbody');
		const of = (kind) => page.$$eval('tr[data-key=' + kind + '] button', (nodes) => nodes.map((one) => one.firstChild.textContent));
		is([await of('board_owned'), await of('board_outside')], [[pause, limits, submit], [submit]], 'an owner of a kind steers his');
		await page.browserContext().close();
		sql("SELECT taskq.kind_drop('board_owned'), taskq.kind_revoke('board_outside', 'web_worker', 'work'); REVOKE taskq_developer, taskq_web FROM board_owner; REVOKE taskq_monitor FROM board_monitor; DROP ROLE board_owner; DROP ROLE board_monitor");

		/* what is not known is tried: of an older server, of one that does not answer that */
		for (const answer of [{ status: 404, body: { code: 'PGRST202', message: 'Could not find the function taskq.rights' } }, 'abort', { body: 'nothing of that' }, { body: { functions: 1, views: null } }]) {
			const page = await window_('alice');
			await answers(page);
			page.answer = (request) => (asks('rights')(request) ? answer : null);
			await open(page, '#/queues');
			await has(page, 'Pause', 'main tbody');
			is(await pages(page), wanted.alice[0] + (answer.status === 404 ? '' : ' Alerts'), 'what is not known is shown');
			await page.browserContext().close();
		}
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
