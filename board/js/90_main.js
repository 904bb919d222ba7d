/* In a frame somebody else may have put something over the buttons. */
if (window.top === window) {
	window.addEventListener('hashchange', go);
	show(document.getElementById('foot'), zone());
	go();
} else
	show(document.getElementById('main'), h('p', {}, 'The board is not shown inside of other pages.'));
