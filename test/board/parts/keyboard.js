/* Without a mouse. */
'use strict';

const { count, has, is, ok, open, until, where, window_ } = require('../lib.js');

module.exports = {
	async keyboard() {
		const page = await window_('operator');
		await open(page);
		await has(page, 'Tasks are run');
		const named = () => page.evaluate(() => (document.activeElement.getAttribute('aria-label') || document.activeElement.textContent).trim());
		await page.keyboard.press('Tab');
		is(await named(), 'Skip to content', 'first there is a way past the menu');
		for (let i = 0; i < 20 && (await named()) !== 'Tasks'; i++)
			await page.keyboard.press('Tab');
		await page.keyboard.press('Enter');
		await until(async () => (await named()) === 'Tasks' && (await page.evaluate(() => document.activeElement.tagName)) === 'H1', 'a page that opens has the focus at its heading');
		for (let i = 0; i < 30 && !(await named()).endsWith('failed'); i++)
			await page.keyboard.press('Tab');
		await page.keyboard.press('Space');
		await until(async () => /state=failed/.test(await where(page)), 'a filter by Space');
		for (let i = 0; i < 40 && (await named()) !== 'Retry'; i++)
			await page.keyboard.press('Tab');
		await page.keyboard.press('Enter');
		await page.waitForSelector('dialog[open]');
		ok(await page.evaluate(() => document.querySelector('dialog').contains(document.activeElement)), 'a dialog takes the focus');
		await page.keyboard.press('Escape');
		await until(async () => (await count(page, 'dialog')) === 0, '... and is left by Escape');
		is(await named(), 'Retry', '... which gives it back');
		ok(await page.evaluate(() => { const style = getComputedStyle(document.activeElement); return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2; }), 'the focus is seen');
		await page.browserContext().close();
	},
};
