// Replaces the parts that change every 15 s while the page is visible; nothing reloads.
const EVERY = 15000;
let etag = '';
export async function refresh() {
  if (document.hidden) return;
  const answer = await fetch(location.href, { headers: etag ? { 'If-None-Match': etag } : {} }).catch(() => null);
  if (!answer || answer.status === 304) return;
  etag = answer.headers.get('ETag') || '';
  const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html');
  if (!answer.ok || document.querySelector('.unknown')) return document.querySelector('main').replaceWith(fresh.querySelector('main'));
  const parts = [...fresh.querySelectorAll('[data-live]')];
  const old = [...document.querySelectorAll('[data-live]')];
  if (parts.length !== old.length) return document.querySelector('main').replaceWith(fresh.querySelector('main'));
  old.forEach((part, n) => { if (part.innerHTML !== parts[n].innerHTML) part.replaceWith(parts[n]); });
  document.querySelector('footer').replaceWith(fresh.querySelector('footer'));
}
setInterval(refresh, EVERY);
document.addEventListener('visibilitychange', refresh);
