/** How the agent knows requests and files by their paths: those of the Runtime API, and those of packages, wherever the function has them. */

/** In front of every path of the Runtime API. */
export const RUNTIME_API = "/2018-06-01/runtime/";

export const PACKAGES = "/node_modules/";

/** What the tables of what is patched call a file, or its URL. */
export const belowPackages = (file: string): string => file.slice(file.lastIndexOf(PACKAGES) + PACKAGES.length);
