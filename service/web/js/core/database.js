/** The database that this service works on: commands on the page name it, so that they run as pasted. */

import { get } from "./api.js";

let url = null;

/** Ask the service once; where it does not tell (no token yet), commands stay as they are. */
export async function learnDatabase() {
  if (url) return;
  const found = await get("/options").catch(() => null);
  url = found?.db ?? null;
}

/** Add `--db` to a command of ours that lacks it. */
export function onDatabase(command) {
  if (!url || !/^nuwa[ -]/.test(command) || / --db[ =]/.test(command)) return command;
  return `${command} --db ${quoted(url)}`;
}

/** Write a word of a command as a shell takes it. */
export function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`;
}
