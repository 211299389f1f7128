// The rooms of the Node.js agent, from above to below. A file may name its own room and those of the lines below it, and nothing else.

/** Rooms of one line do not know each other. Files that stand alone are rooms of their own. */
export const ROOMS = [
  ["main.ts", "chunks.ts"],
  ["watch/"],
  ["runtime/", "loading/"],
  ["sockets/", "otel/", "xray/"],
  ["libraries/http/", "libraries/web/"],
  ["libraries/aws/", "libraries/data/"],
  ["libraries/"],
  ["triggers/"],
  ["record/"],
  ["trace/"],
];

/** Source files in one folder. */
export const MOST_FILES = 12;

export const isInRoom = (file) => filesIn(ROOMS.flat()).some((room) => new RegExp(room).test(file));

const below = (line) => ROOMS.slice(line).flat();
/** Files in these rooms; the rooms in a room are others. */
const filesIn = (rooms) => rooms.map((room) => `^${room.replace(".", "\\.")}${room.endsWith("/") ? "[^/]+$" : "$"}`);

const down = ROOMS.flatMap((rooms, line) =>
  rooms.map((room) => ({
    name: `down-from-${room}`,
    comment: `${room} may name itself and ${below(line + 1).join(", ") || "nothing else"}: move what is named to a room below, or hand it over as a value`,
    severity: "error",
    from: { path: filesIn([room]) },
    to: { pathNot: filesIn([room, ...below(line + 1)]), dependencyTypesNot: ["core"], couldNotResolve: false },
  })),
);

/** An arrow is an import, one of types alone as well (who reads one file has to know the other), and a part that is asked for by its name. */
export const forbidden = [
  ...down,
  {
    name: "no-ring",
    comment: "no file needs itself, in no room and not by types alone: what both ends need belongs into a file below them",
    severity: "error",
    from: {},
    to: { circular: true },
  },
  {
    name: "found",
    comment: "nothing that is not there: a part has to be in chunks.ts, and the agent has no dependency",
    severity: "error",
    from: {},
    to: { couldNotResolve: true },
  },
];
