// Moments in the reader's time zone. The server writes them in UTC, which stays as the title.

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

/** Show each moment in an element in the reader's time zone. */
export function localize(root) {
  for (const time of root.querySelectorAll("time[datetime]:not([title])")) {
    const moment = new Date(time.dateTime);
    if (Number.isNaN(moment.valueOf())) continue;
    time.title = time.textContent.trim();
    const seconds = /:\d\d:\d\d/.test(time.title);
    time.textContent = written(moment, seconds);
  }
}

/** Name the reader's time zone where it is asked for. */
export function nameZone(root) {
  for (const place of root.querySelectorAll("[data-zone]")) {
    place.textContent = `Times are in ${zone.replaceAll("_", " ")}`;
    place.hidden = false;
  }
}

/** Write a moment as the server does, in the zone of the browser. */
function written(moment, seconds) {
  const two = (number) => String(number).padStart(2, "0");
  const day = [moment.getFullYear(), two(moment.getMonth() + 1), two(moment.getDate())].join("-");
  const parts = [moment.getHours(), moment.getMinutes(), ...(seconds ? [moment.getSeconds()] : [])];
  return `${day} ${parts.map(two).join(":")}`;
}
