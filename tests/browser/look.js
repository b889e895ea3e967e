// What a page holds: the marks in its text and its attributes, what ran, and markup that is not ours.
() => {
  const known = new Set(
    ("html head meta title link script body header nav main aside footer section article div span p a b i em strong s small " +
      "ul ol li dl dt dd h1 h2 h3 h4 h5 h6 hr br pre code kbd blockquote table thead tbody tr th td caption form fieldset legend " +
      "figure figcaption label input select option optgroup datalist textarea button progress meter details summary dialog mark del ins time " +
      "svg g rect path circle line polyline text desc " +
      "math mrow mi mo mn ms mtext mspace mfrac msqrt mroot msub msup msubsup munder mover munderover mtable mtr mtd mstyle menclose mphantom mpadded").split(" "),
  );
  const classes = new Set("quiet k s n f c d unread picture chip formula left right".split(" "));
  const isRenderers = (element, name, value) =>
    name === "tabindex" || (name === "dir" && ["auto", "ltr"].includes(value)) || (name === "class" && classes.has(value)) || (element.localName === "ol" && name === "start") ||
    (element.namespaceURI.endsWith("MathML") && !/^(on|href|style|src|id$)/i.test(name) && /^[\w.-]*$/.test(value));
  const addresses = new Set(["href", "src", "action", "formaction", "xlink:href", "data", "poster", "background", "srcset", "ping"]);
  const ours = `${location.origin}/static/`;
  const texts = [document.documentElement.textContent];
  const foreign = new Set();
  for (const element of document.querySelectorAll("*")) {
    const tag = element.localName;
    if (!known.has(tag)) foreign.add(`<${tag}>`);
    if (tag === "script" && !element.src?.startsWith(ours)) foreign.add("<script> of its own");
    if (tag === "meta" && element.httpEquiv) foreign.add("<meta http-equiv>");
    if ("value" in element) texts.push(String(element.value));
    for (const { name, value } of element.attributes) {
      if (name !== "data-page") texts.push(value); // what the script was given, not what is shown
      if (/^on/i.test(name) || name === "srcdoc") foreign.add(`${tag} ${name}`);
      if (name === "style" && !/^(--[\w-]+: ?-?[\d.]+px;? ?)*$/.test(value)) foreign.add(`style ${value.slice(0, 40)}`);
      if (addresses.has(name) && new URL(value, location).origin !== location.origin) foreign.add(`${name}=${value.slice(0, 60)}`);
    }
    const isRendered = element.parentElement?.closest(".text") && !element.closest("form, label");
    const extra = [...element.attributes].filter(({ name, value }) => !isRenderers(element, name, value));
    if (isRendered && extra.length) foreign.add(`rendered text with attributes: ${element.outerHTML.slice(0, 80)}`);
  }
  const marks = [...texts.join("\n").matchAll(/z\((\d+)\)/g)].map((found) => Number(found[1]));
  return { marks: [...new Set(marks)], ran: __ran, blocked: __blocked, foreign: [...foreign], frames: window.length };
}
