/* Long logs, large payloads, many tasks and queues. */
'use strict';

const { answers, asks, closed, count, field, fill, gate, handled, has, is, ok, open, press, sql, until, window_ } = require('../lib.js');

module.exports = {
	async big() {
		const page = await window_('operator');
		const talks = sql("SELECT taskq.task_submit('board_talks')");
		const large = sql("SELECT taskq.task_submit('board_held', jsonb_build_object('large', repeat('words ', 150000)), run_at => 'infinity')");
		await until(async () => sql("SELECT state FROM taskq.task_status('" + talks + "')") === 'completed', 'it has said much');
		await open(page, '#/task/' + talks);
		await has(page, 'line 6000', '.log');
		is(await count(page, '.log li'), 1000, 'of a long log the end');
		await has(page, 'Lines before these are not shown', 'main');
		const asked = await page.evaluate(() => window.handled.filter((url) => url.includes('task_logs')).length);
		await (await field(page, 'From level')).select('error');
		await (await field(page, 'From level')).select('info');
		await (await field(page, 'From level')).select('debug');
		await handled(page, 'task_logs', asked + 3);
		is(await count(page, '.log li'), 1000, '... once');
		await open(page, '#/task/' + large);
		await press(page, 'Show all 900,017 letters');
		await until(async () => (await page.$eval('main pre', (node) => node.textContent.length)) > 900000, 'a large payload, if asked for');
		await answers(page);
		const steps = Array.from({ length: 2000 }, (_, i) => ({ id: large.slice(0, -4) + String(i).padStart(4, '0'), name: 's' + i, kind: 'k', state: 'pending', progress: 0, attempt: 0, depends_on: i ? ['s' + (i - 1)] : [] }));
		page.answer = (request) => (asks('workflow_status')(request) ? { body: { name: 'chain', state: 'running', progress: 0, steps_total: 2000, steps } } : null);
		await open(page, '#/workflow/' + large);
		await until(async () => (await count(page, 'svg.graph a')) === 2000, 'a chain of two thousand');
		await page.browserContext().close();
	},

	/* steps of 200, and of many outcomes the first of each sort; pages to the last task */
	async wide() {
		sql("SELECT count(*) FROM taskq.task_submit_many('board_held', array_fill('{}'::jsonb, ARRAY[1300]), run_at => 'infinity', tags => '{wide}')");
		const page = await window_('operator');
		await answers(page);
		const third = gate();
		let calls = 0;
		page.answer = (request) => (asks('task_bulk')(request) && ++calls === 3 ? third : null);
		await open(page, '#/tasks?tag=wide&state=scheduled');
		await press(page, 'Cancel', '[role=group]');
		await has(page, '1,300 tasks', 'dialog');
		await press(page, 'Cancel', 'dialog');
		await has(page, '400 done, 0 refused', 'dialog');
		is(sql("SELECT count(*) FROM taskq.task WHERE tags @> '{wide}' AND state = 'cancelled'"), '400', 'many are steered step by step');
		third.open();
		await has(page, '1,300 done, 0 refused', 'dialog');
		is([calls, await count(page, 'dialog tbody tr')], [7, 500], '... and of the outcome the first 500 are shown');
		await closed(page);
		sql("SELECT taskq.task_submit_many('board_held', array_fill('{}'::jsonb, ARRAY[5]), run_at => 'infinity', tags => '{wide}')");
		await open(page, '#/tasks?tag=wide&state=scheduled,cancelled');
		await press(page, 'Cancel', '[role=group]');
		await has(page, '1,305 tasks', 'dialog');
		await press(page, 'Cancel', 'dialog');
		await has(page, '5 done, 1,300 refused', 'dialog');
		is(await count(page, 'dialog tbody tr'), 505, '... and those of each sort');
		await closed(page);
		/* the list goes on, from an address of its own */
		const ids = sql("SELECT string_agg(l.id::text, ' ') FROM taskq.task_list('{\"tag\": \"wide\"}', n => 1305) l").split(' ');
		const shown = () => page.$$eval('tbody tr', (rows) => rows.map((row) => row.querySelector('a[href^="#/task/"]').href.split('/').pop()));
		await open(page, '#/tasks?tag=wide');
		for (let n = 50; n < 1000; n += 50) {
			await until(async () => (await count(page, 'tbody tr')) === n, n + ' tasks');
			await press(page, 'More tasks');
		}
		await has(page, 'No more than 1,000 are shown', 'main');
		await press(page, 'Go on after these', 'main');
		await has(page, 'Those before these are not shown', 'main');
		is(await page.evaluate(() => location.hash), '#/tasks?tag=wide&past=' + ids[999], 'a list goes on after what is shown, at an address');
		await until(async () => (await count(page, 'tbody tr')) === 50, 'the next ones');
		is(await shown(), ids.slice(1000, 1050), '... with the next ones');
		for (let n = 50; n < 305; n += 50) {
			await until(async () => (await count(page, 'tbody tr')) === n, n + ' more');
			await press(page, 'More tasks');
		}
		await until(async () => (await count(page, 'tbody tr')) === 305, 'the last ones');
		is(await shown(), ids.slice(1000), '... to the last one');
		await has(page, '1,305 tasks', 'main');
		await press(page, 'From the beginning', 'main');
		await until(async () => (await count(page, 'tbody tr')) === 50 && (await shown())[0] === ids[0], 'the first ones again');
		await open(page, '#/tasks?tag=wide&past=' + ids[999]);
		await has(page, 'Those before these are not shown', 'main');
		await fill(page, 'Kind', 'board_held');
		await until(async () => (await count(page, 'tbody tr')) === 50 && (await shown())[0] === ids[0], 'another filter begins with its first');
		ok(!(await page.evaluate(() => location.hash)).includes('past'), '... and the address too');
		await page.browserContext().close();
	},

	async many() {
		sql("SELECT taskq.kind_define('many_' || repeat('kind ', 10) || n, queue => 'board_outside') FROM generate_series(1, 300) n");
		sql("SELECT taskq.queue_define('many_' || n) FROM generate_series(1, 1000) n");
		sql("SELECT count(*) FROM taskq.task_submit_many('board_many', array_fill('{}'::jsonb, ARRAY[100000]))");
		const page = await window_('operator');
		await open(page, '#/tasks?kind=board_many');
		await has(page, 'more than 9,999 tasks', 'main');
		await until(async () => (await count(page, 'tbody tr')) > 0, 'of a hundred thousand tasks');
		is(await count(page, 'tbody tr'), 50, '... a page is shown');
		await until(async () => (await count(page, '#list-kind option')) >= 300 && (await count(page, '#list-queue option')) === 1000, 'three hundred kinds and a thousand queues are offered');
		await fill(page, 'Kind', 'board_quick');
		await has(page, 'tasks: all tasks, kind board_quick', 'main');
		ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), '... which makes nothing wider');
		await open(page, '#/');
		await until(async () => (await count(page, 'table tbody tr')) > 10, 'the overview, with a thousand queues');
		ok(await count(page, 'table tbody tr') <= 120, '... shows the fullest ones');
		await open(page, '#/queues');
		await until(async () => (await count(page, 'tbody tr')) >= 1000, 'all of them are listed');
		await page.browserContext().close();
	},
};
