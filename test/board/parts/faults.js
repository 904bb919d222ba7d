/* Answers that are lost, late or no answers. */
'use strict';

const { answers, asks, count, field, fill, gate, go, handled, has, is, ok, open, press, text, until, window_ } = require('../lib.js');

module.exports = {
	async lost() {
		const page = await window_('operator');
		await open(page, '#/tasks?kind=board_fails');
		await has(page, 'board_fails', 'tbody');
		await page.setOfflineMode(true);
		await has(page, 'The connection is lost', '#notice');
		await has(page, 'board_fails', 'main');
		await page.setOfflineMode(false);
		await until(async () => (await text(page, '#notice')) === '', 'it comes back by itself');
		await page.browserContext().close();
	},

	async faults() {
		const page = await window_('operator', { pace: 20 });
		await answers(page);
		await open(page, '#/workers');
		await has(page, 'internal', 'main');
		for (const [status, said] of [[500, 'The server answered 500'], [429, 'The server answered 429'], [503, 'The server answered 503'], [200, 'The connection is lost']]) {
			page.answer = (request) => (asks('worker')(request) ? { status, type: 'text/html', body: '<html><h1>half of' } : null);
			await has(page, said);
			ok(!(await text(page)).includes('<html>'), 'a proxy\'s page is not shown');
			page.answer = () => null;
			await until(async () => !(await text(page)).includes(said), '... and it goes away by itself');
		}
		await open(page, '#/tasks?parent=nonsense');
		await has(page, 'invalid', 'main');
		is(await count(page, 'tbody tr'), 0, 'nothing is shown of a filter that is wrong');
		await fill(page, 'Parent', ' ');
		await page.waitForSelector('tbody tr');
		is(await count(page, 'main .note.bad'), 0, '... and mended it is forgotten');
		await page.browserContext().close();
	},

	async races() {
		const page = await window_('operator');
		await answers(page);
		/* an answer for a filter that is no more */
		const slow = gate();
		const held = [];
		page.answer = async (request) => {
			if (!asks('task_list')(request) || !/board_fails/.test(request.url()))
				return null;
			held.push(request);
			return slow;
		};
		await open(page, '#/tasks?kind=board_fails');
		await fill(page, 'Kind', 'board_hostile');
		await has(page, 'board_hostile', 'tbody');
		slow.open();
		await handled(page, 'board_fails', held.length);
		ok(!(await text(page, 'main')).includes('board_fails'), 'a late answer is not shown');
		await go(page, '#/queues');
		await has(page, 'board_q', 'main');
		await page.goBack();
		await has(page, 'board_hostile', 'tbody');
		/* nor is a refusal */
		const wrong = gate();
		const refused = [];
		page.answer = async (request) => {
			if (!asks('task_list')(request) || !/nonsense/.test(request.url()))
				return null;
			refused.push(request);
			return wrong;
		};
		await open(page, '#/tasks?kind=board_hostile&parent=nonsense');
		await until(() => refused.length >= 2, 'what is asked is wrong');
		await fill(page, 'Parent', ' ');
		await has(page, 'board_hostile', 'tbody');
		wrong.open();
		await handled(page, 'nonsense', refused.length);
		is(await count(page, 'main .note.bad'), 0, 'a late refusal is not shown');
		await go(page, '#/queues');
		await has(page, 'board_q', 'main');
		await page.goBack();
		await has(page, 'board_hostile', 'tbody');
		/* who writes a reason meanwhile is not put on the button */
		const counting = gate();
		page.answer = async (request) => { if (request.method() === 'HEAD') await counting; return null; };
		await press(page, 'Delete', '[role=group]');
		await (await field(page, 'Reason')).type('two words');
		counting.open();
		await has(page, 'all tasks', 'dialog');
		is(await page.evaluate(() => document.activeElement.value), 'two words', 'the count leaves the focus where it is');
		/* back leaves the dialog, too */
		await page.goBack();
		await page.waitForFunction(() => !document.querySelector('dialog'));
		ok(true, 'a dialog goes with its page');
		await page.browserContext().close();
	},
};
