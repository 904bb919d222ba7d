/* What is done to many and is broken off. */
'use strict';

const { answers, asks, closed, count, fill, gate, has, is, open, press, reaches, server, sql, until, where, window_ } = require('../lib.js');

module.exports = {
	async broken_bulk() {
		sql("SELECT count(*) FROM taskq.task_submit_many('board_held', array_fill('{}'::jsonb, ARRAY[450]), run_at => 'infinity', tags => '{broken}')");
		const page = await window_('operator');
		await answers(page);
		let calls = 0;
		page.answer = (request) => (asks('task_bulk')(request) && ++calls === 2 ? 'abort' : null);
		await open(page, '#/tasks?tag=broken&state=scheduled');
		await press(page, 'Cancel', '[role=group]');
		await has(page, '450 tasks', 'dialog');
		await press(page, 'Cancel', 'dialog');
		await has(page, 'may be done all the same', 'dialog');
		await has(page, '200 done, 0 refused', 'dialog');
		await press(page, 'Go on', 'dialog');
		await has(page, '450 done, 0 refused', 'dialog');
		is(sql("SELECT DISTINCT state FROM taskq.task_list('{\"tag\": \"broken\"}', n => 1000)"), 'cancelled', 'a bulk action goes on where it was broken off');
		await closed(page);
		/* stopped half-way, it says how far it came */
		await open(page, '#/tasks?tag=broken');
		const second = gate();
		calls = 0;
		page.answer = async (request) => { if (asks('task_bulk')(request) && ++calls === 2) await second; return null; };
		await press(page, 'Delete', '[role=group]');
		await press(page, 'Delete', 'dialog');
		await has(page, '200 done', 'dialog');
		await press(page, 'Stop', 'dialog');
		second.open();
		await has(page, '400 done', 'dialog');
		await page.waitForFunction(() => Array.from(document.querySelectorAll('dialog button')).some((one) => one.textContent === 'Go on' && !one.disabled));
		is(sql("SELECT count(*) FROM taskq.task_list('{\"tag\": \"broken\"}', n => 1000)"), '50', 'who stops it sees what is done');
		await closed(page);
		/* what is retried and fails again is not retried again */
		sql("SELECT count(*) FROM taskq.task_submit_many('board_fails', array_fill('{}'::jsonb, ARRAY[450]), tags => '{again}')");
		await until(async () => sql("SELECT count(*) FROM taskq.task_list('{\"tag\": \"again\", \"state\": \"failed\"}', n => 1000)") === '450', '450 fail');
		page.answer = async (request) => {
			if (asks('task_bulk')(request))
				await until(async () => sql("SELECT count(*) FROM taskq.task WHERE tags @> '{again}' AND NOT ready") === '0', 'all have ended');
			return null;
		};
		await open(page, '#/tasks?tag=again&state=failed');
		await press(page, 'Retry', '[role=group]');
		await press(page, 'Retry', 'dialog');
		await has(page, '450 done, 0 refused', 'dialog');
		await closed(page);
		is(sql("SELECT count(*) FROM taskq.task WHERE tags @> '{again}' AND retry_of IS NOT NULL"), '450', 'each is retried once');
		await page.browserContext().close();
	},

	/* the server does it, and its answer is lost */
	async lost_answers() {
		const page = await window_('operator');
		await answers(page);
		sql("SELECT count(*) FROM taskq.task_submit_many('board_fails', array_fill('{}'::jsonb, ARRAY[450]), tags => '{lost}')");
		await until(async () => sql("SELECT count(*) FROM taskq.task WHERE tags @> '{lost}' AND state = 'failed'") === '450', '450 fail');
		const lose = (name, nth) => {
			let calls = 0;
			page.answer = async (request) => {
				if (!asks(name)(request) || ++calls !== nth)
					return null;
				await reaches(request);
				return 'abort';
			};
		};
		lose('task_bulk', 2);
		await open(page, '#/tasks?tag=lost&state=failed');
		await press(page, 'Retry', '[role=group]');
		await press(page, 'Retry', 'dialog');
		await has(page, 'no task is retried twice', 'dialog');
		await has(page, '200 done, 0 refused', 'dialog');
		is(sql("SELECT count(*) FROM taskq.task WHERE tags @> '{lost}' AND retry_of IS NOT NULL"), '400', 'what is retried is more than what is known');
		await press(page, 'Go on', 'dialog');
		await has(page, '450 done, 0 refused', 'dialog');
		is(sql("SELECT count(*), count(DISTINCT retry_of) FROM taskq.task WHERE tags @> '{lost}' AND retry_of IS NOT NULL"), '450|450', 'none is retried twice');
		is(await count(page, 'dialog tbody tr'), 450, '... and the outcome has each once');
		await closed(page);
		/* one task */
		const failed = sql("SELECT id FROM taskq.task WHERE tags @> '{lost}' AND retry_of IS NULL LIMIT 1");
		sql("SELECT taskq.task_delete(id) FROM taskq.task WHERE retry_of = '" + failed + "' AND ready");
		lose('task_retry', 1);
		await open(page, '#/task/' + failed);
		await press(page, 'Retry \u2026');
		await press(page, 'Retry it', 'dialog');
		await has(page, 'cannot be reached', 'dialog');
		await press(page, 'Retry it', 'dialog');
		await until(async () => !(await where(page)).includes(failed), 'a retry that is asked for twice');
		is(sql("SELECT count(*) FROM taskq.task WHERE retry_of = '" + failed + "'"), '1', '... is done once');
		/* one by hand, and another one that is the same */
		for (const nth of [1, 2]) {
			lose('task_submit', 1);
			await open(page, '#/tasks?kind=board_quick&tag=twice');
			await press(page, 'Submit a task \u2026');
			await fill(page, 'Tags', 'twice');
			await press(page, 'Submit it', 'dialog');
			await has(page, 'cannot be reached', 'dialog');
			await press(page, 'Submit it', 'dialog');
			await has(page, 'completed successfully', 'main');
			is(sql("SELECT count(*) FROM taskq.task WHERE tags @> '{twice}'"), String(nth), 'a task by hand is submitted once, and once more if that is meant');
		}
		await page.browserContext().close();
	},
};
