// Asks every 15 s while the page is visible. Without an answer the page says so, and hides what may no longer hold.
export function poll(url, use, silent = (poll.silent ??= new Set())) {
  let etag = '';
  const look = async () => {
    if (document.hidden) return;
    const answer = await fetch(url, { headers: etag ? { 'If-None-Match': etag } : {} }).catch(() => ({ headers: new Headers() }));
    silent[answer.ok || answer.status === 304 ? 'delete' : 'add'](url), document.documentElement.classList.toggle('lost', silent.size > 0);
    if (answer.ok) await use(answer);
    if (answer.status !== 304) etag = (answer.ok && answer.headers.get('ETag')) || '';
  };
  document.addEventListener('visibilitychange', look);
  setInterval(look, 15000);
  return look;
}
