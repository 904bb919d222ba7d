/*
 * The board in a real browser.  Called by test/http/Board.pm with a description of the site as JSON
 * on standard input; says TAP.  site.files: names of files of parts/, or site.parts: of what they have.
 */
'use strict';

const fs = require('fs');
const path = require('path');
const { site, noise, ok, is, launch, plan } = require('./lib.js');

const files = Object.fromEntries(fs.readdirSync(path.join(__dirname, 'parts')).filter((file) => file.endsWith('.js'))
	.map((file) => [file.slice(0, -3), require('./parts/' + file)]));
const parts = Object.assign({}, ...Object.values(files));

(async () => {
	const browser = await launch();
	for (const name of site.files ? site.files.flatMap((one) => Object.keys(files[one])) : site.parts) {
		const start = Date.now();
		console.log('# ' + name);
		try {
			await parts[name]();
		} catch (error) {
			ok(false, name + ' goes to its end', error.stack);
		}
		is(noise.splice(0), [], name + ': the console is quiet');
		console.log('# ' + name + ' took ' + ((Date.now() - start) / 1000).toFixed(1) + ' s');
	}
	await browser.close();
	plan();
})().catch((error) => {
	console.log('Bail out! ' + error.stack.split('\n')[0]);
	process.exit(1);
});
