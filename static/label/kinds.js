// The kinds of judgment. Each knows its answer in hand (a plain value; every change makes the next one), its words,
// its drawing, and its actions `(desk, details)`; the page knows none of that.

import { pick } from "./pick.js";
import { rank } from "./rank.js";
import { rate } from "./rate.js";
import { thumbs } from "./thumbs.js";
import { edit, write } from "./write.js";

export const KINDS = { pick, rank, rate, thumbs, write, edit };
