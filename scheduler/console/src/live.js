// The live log: new lines as they come, each once, also after a reconnect. Without it a reload shows the same.
"use strict";
const log = document.querySelector("[data-events]");
if (log) {
  let next = Number(log.dataset.next);
  const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const line = (record) => {
    const item = document.createElement("li");
    item.id = "r" + record.seq;
    item.className = record.class;
    const parts = [["time", "at", record.time], ["b", "source", record.source], ["span", "level", record.level], ["span", "text", record.text]];
    for (const [tag, name, text] of parts) {
      if (!text && name !== "text") continue;
      const part = document.createElement(tag);
      part.className = name;
      part.textContent = text;
      item.append(part);
    }
    return item;
  };
  const source = new EventSource(log.dataset.events + "?from=" + next);
  source.addEventListener("message", (event) => {
    const record = JSON.parse(event.data);
    if (record.seq < next) return;
    next = record.seq + 1;
    const stay = atEnd();
    log.append(line(record));
    if (stay) log.scrollTop = log.scrollHeight;
  });
  source.addEventListener("seal", () => { source.close(); location.reload(); });
  const state = document.querySelector("[data-live]");
  source.addEventListener("open", () => { if (state) state.textContent = "live"; });
  source.addEventListener("error", () => { if (state) state.textContent = source.readyState === 2 ? "ended" : "connecting again …"; });
  const summary = document.querySelector("[data-summary]");
  const refresh = async () => {
    if (document.hidden || source.readyState === 2) return;
    const answer = await fetch(summary.dataset.summary, { headers: { accept: "text/fragment" } }).catch(() => null);
    if (answer && answer.ok && !answer.redirected) summary.innerHTML = await answer.text();
  };
  if (summary) setInterval(refresh, 2000);
  log.scrollTop = log.scrollHeight;
}
