/* What is asked while nobody looks; other clocks, languages and zones. */
'use strict';

const { answers, asks, go, has, is, ok, open, sql, text, until, window_ } = require('../lib.js');

module.exports = {
	async manners() {
		/* an hour is seconds; what listens for the end of the page is counted */
		const page = await window_('operator', { pace: 100 });
		await page.evaluateOnNewDocument(() => {
			window.listening = 0;
			const { addEventListener, removeEventListener } = AbortSignal.prototype;
			AbortSignal.prototype.addEventListener = function(...all) { window.listening++; return addEventListener.apply(this, all); };
			AbortSignal.prototype.removeEventListener = function(...all) { window.listening--; return removeEventListener.apply(this, all); };
		});
		const looks = () => page.requests.filter((url) => url.endsWith('/rpc/sitrep')).length;
		await answers(page);
		const worker = { name: 'twin', type: 'external', role: 'somebody', state: 'idle', running: 0, completed: 0, failed: 0 };
		page.answer = (request) => (asks('worker')(request) ? { body: [worker, worker] } : null);
		await open(page);
		await until(() => looks() > 3, 'it is looked at again and again');
		const before = await page.evaluate(() => window.listening);
		const seen = looks();
		await until(() => looks() > seen + 10, '... and again');
		await until(async () => (await page.evaluate(() => window.listening)) <= before, 'nothing is left behind by a look');
		is((await text(page, 'main')).split('twin').length - 1, 2, '... also of what is there twice');
		await page.evaluate(() => {
			Object.defineProperty(document, 'hidden', { value: true, configurable: true });
			document.dispatchEvent(new Event('visibilitychange'));
		});
		await page.waitForNetworkIdle({ idleTime: 100 });
		const asked = page.requests.length;
		await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 120000)));
		is(page.requests.length, asked, 'who is not looked at asks nothing');
		await page.evaluate(() => {
			Object.defineProperty(document, 'hidden', { value: false, configurable: true });
			document.dispatchEvent(new Event('visibilitychange'));
		});
		await until(() => page.requests.length > asked, '... until somebody looks');
		await page.browserContext().close();

		/* who passes by leaves no wait behind */
		const quick = await window_('operator', { pace: 0.01 });
		await open(quick, '#/');
		for (const id of sql("SELECT id FROM taskq.task_list('{\"kind\": \"board_fails\"}', n => 10)").split('\n')) {
			await go(quick, '#/task/' + id);
			await has(quick, id, 'main');
			await go(quick, '#/queues');
		}
		is(quick.requests.filter((url) => /events_since|task_watch/.test(url)), [], 'who passes by waits for nothing');
		await quick.browserContext().close();
	},

	async elsewhere() {
		/* a clock three hours ahead, another language, another zone */
		const page = await window_('operator');
		await page.evaluateOnNewDocument(() => {
			const Real = Date;
			window.Date = class extends Real {
				constructor(...all) {
					super(...(all.length ? all : [Real.now() + 10800000]));
				}

				static now() {
					return Real.now() + 10800000;
				}
			};
		});
		await open(page, '#/tasks?kind=board_hostile&time=1+hour');
		await has(page, 'board_hostile', 'tbody');
		await open(page, '#/');
		await has(page, 'Failed lately', 'main');
		await until(async () => / ago/.test(await text(page, 'main')), 'how long ago');
		ok(!/\b[23] h.* ago/.test(await text(page, 'main')), '... by the server\'s clock');
		const session = await page.createCDPSession();
		for (const [locale, zone, words] of [['ar-EG', 'Africa/Cairo', /[\u0660-\u0669]/], ['de-DE', 'America/St_Johns', /\d/]]) {
			await session.send('Emulation.setLocaleOverride', { locale });
			await page.emulateTimezone(zone);
			await open(page, '#/');
			await until(async () => words.test(await text(page, '.counts')), 'numbers of ' + locale);
			await open(page, '#/tasks?state=failed');
			await until(async () => words.test(await text(page, 'main [role=status]')), '... and counts');
			await session.send('Emulation.setLocaleOverride', {});
		}
		await page.browserContext().close();
	},
};
