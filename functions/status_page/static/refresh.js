// Replaces what has changed on the page: nothing is loaded anew, and no focus is lost.
import { poll } from './poll.js';
poll(document.body.dataset.url, async (answer) => {
  const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html');
  const now = (old) => fresh.getElementById(old.id) ?? old;
  for (const old of document.querySelectorAll('[data-live]')) if (now(old).outerHTML !== old.outerHTML) old.replaceWith(now(old));
});
