/* Large workflows, and all that the retry of a task can be told. */
'use strict';

const { answers, asks, count, field, fill, has, is, ok, open, press, sql, until, where, window_ } = require('../lib.js');

const focused = (page) => page.evaluate(() => document.activeElement.querySelector('.name')?.textContent);

module.exports = {
	async fan() {
		/* a hundred steps that wait for one, and that one waits for; two wait for some of them */
		const names = Array.from({ length: 100 }, (none, n) => 'part ' + n);
		const flow = [{ name: 'split' }, ...names.map((name) => ({ name, depends_on: ['split'] })), { name: 'join', depends_on: names }, { name: 'some', depends_on: names.slice(0, 2) }].map((step) => ({ ...step, kind: 'board_held' }));
		const id = sql("SELECT taskq.workflow_submit('" + JSON.stringify(flow) + "')");
		const page = await window_('operator');
		await open(page, '#/workflow/' + id);
		await until(async () => (await count(page, 'svg.graph a')) === 103, 'a fan of a hundred');
		const seen = () => page.$$eval('svg.graph .arrow', (all) => all.filter((one) => getComputedStyle(one).opacity > 0).length);
		is([await count(page, 'svg.graph .frame'), await seen()], [1, 4], 'one arrow to all of them, one from all, and those of some');
		const inside = await page.$eval('svg.graph', (graph) => {
			const frame = graph.querySelector('.frame').getBBox();
			return Array.from(graph.querySelectorAll('a rect.box')).map((one) => one.getBBox()).filter((one) => one.x > frame.x && one.y > frame.y && one.x + one.width < frame.x + frame.width && one.y + one.height < frame.y + frame.height).length;
		});
		is(inside, 100, '... a frame is around them');
		await page.$$eval('svg.graph a', (all) => all[50].focus());
		is([await count(page, 'svg.graph .arrow.near'), await seen()], [2, 6], 'a step shows its own arrows');
		await page.browserContext().close();
		sql("SELECT taskq.workflow_cancel('" + id + "')");
	},

	async graph() {
		const page = await window_('operator', { width: 360, height: 740, pace: 20 });
		await answers(page);
		const long = '_a_name_of_a_step_that_is_much_longer_than_there_is_place_for_it';
		const steps = Array.from({ length: 200 }, (_, i) => ({ id: '01a201e8-0000-7000-8000-' + String(i).padStart(12, '0'), name: 's' + i + long, kind: 'k', state: 'pending', progress: 0, attempt: 0,
			depends_on: i === 0 ? [] : [i <= 100 ? 's0' + long : 's' + (i - 1) + long] }));
		page.answer = (request) => (asks('workflow_status')(request) ? { body: { name: 'large', state: 'running', progress: 10, steps_total: 200, steps } } : null);
		await open(page, '#/workflow/' + steps[0].id);
		await until(async () => (await count(page, 'svg.graph a')) === 200, 'two hundred steps');
		ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), '... in a place of their own');
		const box = await page.$eval('svg.graph', (node) => node.viewBox.baseVal.height);
		ok(box < 2000, 'a hundred that wait for one are in several columns', box);
		is(await count(page, 'svg.graph a[tabindex="0"]'), 1, 'Tab stops there once');
		await page.$eval('svg.graph a[tabindex="0"]', (node) => node.focus());
		await page.keyboard.press('ArrowRight');
		is(await focused(page), 's1' + long, 'the arrow goes to who waits for it');
		await page.keyboard.press('ArrowDown');
		is(await focused(page), 's2' + long, '... to the next one');
		await page.keyboard.press('End');
		is(await focused(page), 's199' + long, '... to the last');
		ok(await page.evaluate(() => { const a = document.activeElement.getBoundingClientRect(); const b = document.querySelector('.map').getBoundingClientRect(); return a.left < b.right && a.right > b.left && a.top < b.bottom && a.bottom > b.top; }), '... which is scrolled to');
		await page.keyboard.press('ArrowLeft');
		is(await focused(page), 's198' + long, '... and back');
		const wide = () => page.$eval('svg.graph', (node) => node.getBoundingClientRect().width);
		const before = await wide();
		await page.keyboard.press('+');
		ok(await wide() > before, '+ makes it larger');
		await press(page, 'Fit all of it');
		ok(await wide() < before, 'all of it fits');
		await page.$eval('svg.graph a[tabindex="0"]', (node) => node.focus());
		await page.$eval('svg.graph a[tabindex="0"]', (node) => { node.dataset.mine = 1; });
		steps[198].state = 'failed';
		await until(async () => (await page.$eval('[data-mine]', (node) => node.textContent)).includes('failed'), 'a step fails');
		is(await focused(page), 's198' + long, 'what changes is changed in its place');
		await page.keyboard.press('Enter');
		await until(async () => (await where(page)) === '#/task/' + steps[198].id, 'Enter opens it');
		await page.browserContext().close();
	},

	async retry() {
		const page = await window_('operator');
		const id = sql("SELECT taskq.task_submit('board_fails', '{\"why\": \"retry me\", \"old\": 1}', tags => '{again-by-hand}')");
		await until(async () => sql("SELECT state FROM taskq.task_status('" + id + "')") === 'failed', 'it fails');
		await open(page, '#/task/' + id);
		await press(page, 'Retry \u2026');
		const before = async (label) => (await field(page, label)).evaluate((node) => node.placeholder);
		is(await Promise.all(['Priority', 'Queue', 'Not before', 'Attempts', 'Timeout', 'Or the timeout'].map(before)), ['as before: 0', 'as before: default', 'at once', 'as before: 1', 'as before: none', '1'], 'each field says what it was');
		await fill(page, 'Priority', '5');
		await fill(page, 'Queue', 'board_q');
		await fill(page, 'Not before', '1 hour');
		await fill(page, 'Attempts', '4');
		await fill(page, 'Timeout', '5 min');
		await (await field(page, 'Each attempt on another')).click();
		await (await field(page, 'Only these members')).click();
		await fill(page, 'Payload', '{"extra": true}');
		await press(page, 'Retry it', 'dialog');
		await until(async () => /#\/task\//.test(await where(page)) && !(await where(page)).includes(id), 'it opens the new one');
		is(sql("SELECT priority, queue, max_attempts, timeout, run_at > now() + '50 min', payload FROM taskq.task WHERE retry_of = '" + id + "'"),
			'5|board_q|4|00:05:00|t|{"old": 1, "why": "retry me", "extra": true}', 'it is as it was told');
		await has(page, 'scheduled', 'main');
		await press(page, 'Cancel \u2026');
		await press(page, 'Cancel it', 'dialog');
		await has(page, 'cancelled', 'main');
		await press(page, 'Retry \u2026');
		await fill(page, 'Or the timeout', '2');
		await press(page, 'Retry it', 'dialog');
		await until(async () => sql("SELECT count(*) FROM taskq.task WHERE tags @> '{again-by-hand}' AND timeout = '10 min'") === '1', 'twice the timeout');
		await open(page, '#/task/' + id);
		await press(page, 'Delete \u2026');
		await has(page, 'Delete this task', 'dialog');
		is(sql("SELECT count(*) FROM taskq.task WHERE id = '" + id + "'"), '1', 'who deletes is asked first');
		await press(page, 'Delete it', 'dialog');
		await until(async () => sql("SELECT count(*) FROM taskq.task WHERE id = '" + id + "'") === '0', '... and then it is done');
		sql("SELECT taskq.task_cancel(id) FROM taskq.task WHERE tags @> '{again-by-hand}' AND NOT ready");
		await page.browserContext().close();
	},
};
