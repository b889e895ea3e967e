// Sends a form of the given fields, as a page of ours would.
({ action, fields }) => {
  const form = Object.assign(document.createElement("form"), { method: "post", action });
  const token = document.querySelector('meta[name="csrf-token"]')?.content ?? "";
  for (const [name, value] of [["csrf_token", token], ...fields]) {
    form.append(Object.assign(document.createElement("textarea"), { name, value }));
  }
  document.body.append(form);
  form.submit();
}
