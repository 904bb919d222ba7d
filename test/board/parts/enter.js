/* Getting in: the page as it comes, the log-in, the page as a file. */
'use strict';

const { call, field, fill, go, has, is, ok, open, press, site, sql, text, until, window_ } = require('../lib.js');

module.exports = {
	async page() {
		const page = await window_(null, { says: /policy|Content Security Policy/ });
		const answer = await page.goto(site.url + '/rpc/board', { waitUntil: 'networkidle0' });
		const headers = answer.headers();
		ok(/^text\/html/.test(headers['content-type']), 'the page is HTML', headers);
		ok(/default-src 'none'/.test(headers['content-security-policy']) && !/unsafe/.test(headers['content-security-policy']), 'its policy is strict', headers);
		ok((await answer.buffer()).length < 150000, 'it is small');
		is(page.requests.filter((url) => !url.startsWith('data:')).length, 1, 'it comes by one request');
		ok(await page.evaluate(() => document.cookie === ''), 'no cookies');
		await has(page, 'Log in');
		await page.evaluate(() => { const script = document.createElement('script'); script.textContent = 'window.injected = 1'; document.body.append(script); });
		ok(await page.evaluate(() => window.injected === undefined), 'no other script runs');
		await page.browserContext().close();
	},

	async login() {
		const page = await window_(null);
		await open(page);
		await fill(page, 'Token (JWT)', 'no.such.token');
		await press(page, 'Use this token');
		await page.waitForSelector('[role=alert]');
		ok(true, 'a wrong token is told');
		await fill(page, 'E-mail', 'boss@example.com');
		await fill(page, 'Password', 'wrong');
		await press(page, 'Log in');
		await page.waitForSelector('form:has([type=password]) [role=alert]');
		ok(true, 'a wrong password is told');
		await fill(page, 'Password', 'open sesame');
		await press(page, 'Log in');
		await has(page, 'boss@example.com of acme');
		await has(page, 'Overview');
		ok(await page.evaluate(() => sessionStorage.length === 0 && localStorage.length === 0), 'the token is kept nowhere');
		await page.reload();
		await has(page, 'Log in');
		await fill(page, 'Token (JWT)', site.tokens.operator);
		await (await field(page, 'Keep it until')).click();
		await press(page, 'Use this token');
		await has(page, 'operator@example.com');
		await page.reload();
		await has(page, 'operator@example.com');
		await press(page, 'Log out');
		await has(page, 'With a token');
		ok(await page.evaluate(() => sessionStorage.length === 0), 'who logs out leaves nothing');
		await page.browserContext().close();
	},

	/* the page as a file: another origin */
	async file() {
		const page = await window_(null);
		await page.goto('file://' + site.file + '?api=' + encodeURIComponent(site.url), { waitUntil: 'load' });
		is(await (await field(page, 'Address of the API')).evaluate((node) => node.value), site.url, 'a file is told whom to ask, and shows it');
		await fill(page, 'E-mail', 'boss@example.com');
		await fill(page, 'Password', 'open sesame');
		await press(page, 'Log in');
		await has(page, 'boss@example.com of acme');
		await has(page, 'Tasks are run');
		const id = await call('alice', 'task_submit', { kind: 'board_tenant', delay: '1 hour' });
		await go(page, '#/tasks?kind=board_tenant&state=scheduled');
		await until(async () => (await page.content()).includes(id), 'it shows the same');
		await has(page, '1 task: scheduled tasks', 'main');
		await press(page, 'Cancel', '[role=group]');
		await press(page, 'Cancel', 'dialog');
		await has(page, '1 done, 0 refused', 'dialog');
		is(sql("SELECT state FROM taskq.task_status('" + id + "')"), 'cancelled', '... and steers');
		sql("SELECT taskq.task_delete('" + id + "')");
		ok(page.requests.every((url) => url.startsWith(site.url + '/') || /^(file|data):/.test(url)), 'it asks nobody else', page.requests.slice(0, 20));
		await page.browserContext().close();
	},
};
