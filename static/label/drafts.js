// What this browser keeps: drafts of judgments, and judgments that have not reached the server yet. Both survive a
// reload and a closed tab, and belong to one user of one project. Where the browser keeps nothing, they live as long
// as the page.

const OLD_MS = 30 * 24 * 3600 * 1000;

export class Drafts {
  constructor(user, api) {
    this.prefix = `attune:${user}:${api}:`;
    this.memory = new Map();
    this.posted = 0;
    this.dropOld();
  }

  read(id) {
    return this.#get(`draft:${id}`);
  }

  /** Keep a draft; returns false if it will not outlive the page. */
  write(id, draft) {
    return this.#set(`draft:${id}`, { ...draft, at: Date.now() });
  }

  drop(id) {
    this.#remove(`draft:${id}`);
  }

  /** Judgments and skips on their way, oldest first. Each has an entry of its own, so that two tabs lose none. */
  get outbox() {
    return this.#names("out:").map((name) => this.#get(name)).filter(Boolean);
  }

  post(item) {
    this.posted += 1;
    const when = `${String(Date.now()).padStart(15, "0")}:${String(this.posted).padStart(6, "0")}`;
    this.#set(`out:${when}:${item.key}`, item);
  }

  /** Forget those that the server has acknowledged. */
  arrived(items) {
    const keys = new Set(items.map((item) => item.key));
    for (const name of this.#names("out:")) if (keys.has(this.#get(name)?.key)) this.#remove(name);
  }

  /** How the labeler likes to look at comparisons. */
  get settings() {
    return this.#get("settings") ?? {};
  }

  set settings(settings) {
    this.#set("settings", settings);
  }

  dropOld() {
    for (const name of this.#names("draft:")) {
      if (Date.now() - (this.#get(name)?.at ?? 0) > OLD_MS) this.#remove(name);
    }
  }

  #names(start) {
    const names = new Set([...this.memory.keys()]);
    try {
      for (const key of Object.keys(localStorage)) if (key.startsWith(this.prefix)) names.add(key.slice(this.prefix.length));
    } catch {
      // a browser that keeps nothing names nothing
    }
    return [...names].filter((name) => name.startsWith(start)).sort();
  }

  #get(name) {
    if (this.memory.has(name)) return this.memory.get(name);
    try {
      return JSON.parse(localStorage.getItem(this.prefix + name));
    } catch {
      return null;
    }
  }

  #set(name, value) {
    try {
      localStorage.setItem(this.prefix + name, JSON.stringify(value));
      this.memory.delete(name);
      return true;
    } catch {
      this.memory.set(name, value); // private or full: kept while the page is open
      return false;
    }
  }

  #remove(name) {
    this.memory.delete(name);
    try {
      localStorage.removeItem(this.prefix + name);
    } catch {
      // nothing was kept there
    }
  }
}
