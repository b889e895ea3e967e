// The kinds of judgment; a new kind is a module and an entry here. Each defines its judgment in hand (a plain value;
// every change makes a new one), its words, its drawing, and its actions `(desk, details)`.

import { pick } from "./pick.js";
import { rank } from "./rank.js";
import { rate } from "./rate.js";
import { thumbs } from "./thumbs.js";
import { edit, write } from "./write.js";

export const KINDS = { pick, rank, rate, thumbs, write, edit };
