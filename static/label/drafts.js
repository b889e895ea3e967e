// What this browser keeps: drafts of answers, and judgments that have not reached the server yet. Both
// survive a reload and a closed tab, and belong to one user of one project.

const OLD_MS = 30 * 24 * 3600 * 1000;

export class Drafts {
  constructor(user, api) {
    this.prefix = `attune:${user}:${api}:`;
    this.dropOld();
  }

  read(id) {
    return this.#get(`draft:${id}`);
  }

  write(id, draft) {
    return this.#set(`draft:${id}`, { ...draft, at: Date.now() });
  }

  drop(id) {
    try {
      localStorage.removeItem(`${this.prefix}draft:${id}`);
    } catch {
      // a browser that keeps nothing has nothing to drop
    }
  }

  /** Judgments and skips on their way, oldest first. */
  get outbox() {
    return this.#get("outbox") ?? [];
  }

  set outbox(items) {
    this.#set("outbox", items);
  }

  dropOld() {
    try {
      for (const key of Object.keys(localStorage)) {
        if (!key.startsWith(`${this.prefix}draft:`)) continue;
        if (Date.now() - (JSON.parse(localStorage.getItem(key)).at ?? 0) > OLD_MS) localStorage.removeItem(key);
      }
    } catch {
      // nothing kept, nothing old
    }
  }

  #get(key) {
    try {
      return JSON.parse(localStorage.getItem(this.prefix + key));
    } catch {
      return null;
    }
  }

  #set(key, value) {
    try {
      localStorage.setItem(this.prefix + key, JSON.stringify(value));
      return true;
    } catch {
      return false; // private windows may refuse; the page then does not say that a draft is kept
    }
  }
}
