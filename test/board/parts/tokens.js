/* Tokens of any sort, and one that ends. */
'use strict';

const { answers, asks, count, fill, gate, go, handled, has, is, ok, open, press, site, text, where, window_ } = require('../lib.js');

module.exports = {
	async tokens() {
		const page = await window_(null);
		const claims = { role: 'web_operator', sub: '\u0627\u0644\u0645\u0634\u063a\u0644 \u{1F600}' + 'x'.repeat(3000), tenant: { toString: 1 } };
		await answers(page);
		await open(page);
		await fill(page, 'Token (JWT)', '\u201ctyped by hand\u201d');
		await press(page, 'Use this token');
		await has(page, 'That is not a token', 'main');
		is(await text(page, '#notice'), '', '... which is no lost connection');
		/* one of a server that says it is right, with odd claims */
		page.answer = (request) => (request.url().includes('/rpc/board') ? null : { body: [] });
		for (const body of [claims, null, [], 'text']) {
			const token = ['{}', JSON.stringify(body), 'x'].map((part) => Buffer.from(part).toString('base64url')).join('.');
			await fill(page, 'Token (JWT)', ' Bearer ' + token.slice(0, 20) + '\n' + token.slice(20));
			await press(page, 'Use this token');
			await page.waitForSelector('nav');
			ok(body !== claims || (await text(page, '#head')).includes('\u{1F600}xxx'), 'claims of any sort');
			ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), '... fit into the page');
			await press(page, 'Log out');
			await has(page, 'With a token');
		}
		page.answer = () => null;
		await fill(page, 'Token (JWT)', site.tokens.operator);
		await press(page, 'Use this token');
		await has(page, 'Tasks are run', 'main');
		/* how many dialogs there are at the very moment that the log-in is shown */
		await page.evaluate(() => {
			window.over = [];
			new MutationObserver(() => {
				if (/JWT expired/.test(document.getElementById('main').textContent))
					window.over.push(document.querySelectorAll('dialog').length);
			}).observe(document.body, { childList: true, subtree: true });
		});
		const ends = (name) => (request) => (asks(name)(request) ? { status: 401, body: { message: 'JWT expired', code: 'PGRST303' } } : null);
		const again = async () => {
			page.answer = () => null;
			await fill(page, 'Token (JWT)', site.tokens.operator);
			await press(page, 'Use this token');
			await has(page, 'tasks: all tasks, kind board_held', 'main');
		};
		/* it ends while a dialog is open, with work in it: what the dialog asks for is answered so */
		await go(page, '#/tasks?kind=board_held');
		await press(page, 'Cancel', '[role=group]');
		await has(page, 'tasks: ', 'dialog');
		page.answer = ends('task_bulk');
		await press(page, 'Cancel', 'dialog');
		await has(page, 'JWT expired', 'main');
		is(await page.evaluate(() => window.over.splice(0)[0]), 0, 'a token that ends leaves no dialog over the log-in');
		await again();
		/* or what is looked at behind it */
		await press(page, 'Cancel', '[role=group]');
		await has(page, 'tasks: ', 'dialog');
		page.answer = ends('task_list');
		await has(page, 'JWT expired', 'main');
		is(await page.evaluate(() => window.over.splice(0)[0]), 0, '... whoever is told first');
		await again();
		/* what comes after the log-in is shown opens none, and says nothing to who has logged in since */
		const late = gate();
		page.answer = async (request) => {
			if (asks('kind')(request) && /description/.test(request.url()))
				await late;
			return ends('task_list')(request);
		};
		await press(page, 'Submit a task \u2026');
		await has(page, 'JWT expired', 'main');
		page.answer = () => null;
		await fill(page, 'Token (JWT)', site.tokens.alice);
		await press(page, 'Use this token');
		await has(page, 'alice@example.com', '#head');
		is(await where(page), '#/tasks?kind=board_held', '... and who logs in goes on there');
		late.open();
		await handled(page, '/kind?select=name,description');
		is([await count(page, 'dialog'), await text(page, '#head').then((head) => head.includes('alice'))], [0, true], 'an answer of before opens nothing');
		await page.browserContext().close();
	},
};
