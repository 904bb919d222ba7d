/* PostgreSQL, the gateway and nginx end, and are there again. */
'use strict';

const { count, field, fill, go, has, is, ok, open, press, reached, server, sql, text, tick, until, where, window_ } = require('../lib.js');

/* One of them is away, while all these wait for it. */
async function away(name, pages, meanwhile) {
	await server('stop', name);
	for (const page of pages)
		await has(page, 'The connection is lost', '#notice');
	await meanwhile();
	await server('start', name);
	await reached(() => sql('SELECT 1') === '1');
	for (const page of pages)
		await until(async () => (await text(page, '#notice')) === '', name + ': it comes back by itself');
	for (const page of pages)
		await until(async () => (await count(page, 'main .note.bad')) === 0, '... and says nothing more of it');
}

module.exports = {
	async restarts() {
		sql("SELECT taskq.task_submit_many('board_held', array_fill('{}'::jsonb, ARRAY[3]), run_at => 'infinity', tags => '{away}')");
		const running = sql("SELECT taskq.task_submit('board_long')");
		const overview = await window_('operator');
		const tasks = await window_('operator');
		const task = await window_('operator');
		const address = '#/tasks?tag=away&state=scheduled';
		await open(overview);
		await open(tasks, address);
		await open(task, '#/task/' + running);
		await has(overview, 'Tasks are run', 'main');
		const chosen = await tick(tasks, 2);
		await press(tasks, 'Cancel', '[role=group]');
		await has(tasks, '2 tasks: those selected', 'dialog');
		await fill(tasks, 'Reason', 'written before');
		await has(task, 'did step', '.log');
		/* each of them waits for something to happen */
		await until(() => [overview, tasks].every((page) => page.requests.some((url) => /events_since/.test(url))) && task.requests.some((url) => /task_watch/.test(url)), 'they wait');
		let news = 0;
		for (const name of ['nginx', 'gateway', 'postgresql']) {
			await away(name, [overview, tasks, task], async () => {
				ok(/\d/.test(await text(overview, '.counts')), name + ' is away: the overview keeps its numbers');
				is([await where(tasks), await count(tasks, 'tbody input'), await count(tasks, 'tbody input:checked')], [address, 3, 2], '... tasks their filter, rows and selection');
				is(await (await field(tasks, 'Reason')).evaluate((node) => node.value), 'written before', '... a dialog its text');
				ok((await text(task, '.log')).includes('did step'), '... a task its log');
			});
			sql("SELECT taskq.task_submit('board_held', run_at => 'infinity', tags => '{away}')");
			news++;
			/* who has selected some is told */
			await until(async () => (await text(tasks, '.news')) === news + (news === 1 ? ' new task' : ' new tasks'), name + ' is back: what is new is told');
			is([await count(tasks, 'tbody input'), await count(tasks, 'tbody input:checked')], [3, 2], '... and the same are shown and selected');
			const held = sql("SELECT sum(n) FROM taskq.task_counts() WHERE state = 'scheduled'");
			await until(async () => (await text(overview, '.counts [data-key=scheduled] b')) === held, '... the overview counts it');
			if (name === 'postgresql')
				await until(async () => (await text(task, 'main .taskhead')).includes(sql("SELECT state FROM taskq.task_status('" + running + "')")), '... a task says what became of it');
			else {
				const at = () => task.$eval('progress.long', (node) => node.value);
				const first = await at();
				await until(async () => (await at()) > first, '... a task goes on');
			}
		}
		await press(tasks, 'Cancel', 'dialog');
		await has(tasks, '2 done, 0 refused', 'dialog');
		is(sql("SELECT string_agg(id::text, ',' ORDER BY id) FROM taskq.task WHERE state = 'cancelled' AND cancel_reason = 'written before'"), chosen.sort().join(','), 'what was begun before is done');
		/* a page that is opened meanwhile comes by itself */
		await server('stop', 'gateway');
		await go(task, '#/queues');
		await has(task, 'The connection is lost', '#notice');
		await go(task, '#/task/' + chosen[0]);
		await until(async () => (await count(task, 'main .note.bad')) > 0, 'a page that cannot be opened says so');
		await server('start', 'gateway');
		await has(task, 'written before', 'main');
		is(await count(task, 'main .note.bad'), 0, '... and opens when it can be');
		for (const page of [overview, tasks, task])
			await page.browserContext().close();
	},
};
