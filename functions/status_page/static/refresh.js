// Replaces what has changed on the page: nothing is loaded anew, and what has the focus keeps it.
import { poll } from './poll.js';
poll(document.body.dataset.url, async (answer) => {
  const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html'), name = (element) => element.href ?? element.ariaLabel;
  for (const old of document.querySelectorAll('[data-live]')) {
    const next = fresh.getElementById(old.id) ?? old, had = old.contains(document.activeElement) && name(document.activeElement);
    if (next.outerHTML !== old.outerHTML) old.replaceWith(next);
    if (had) [next, ...next.querySelectorAll('a, [tabindex]')].find((each) => name(each) === had)?.focus({ preventScroll: true });
  }
});
