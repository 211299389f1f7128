// What Prisma's generator makes of a schema with one table, `model items { id Int @id, name String }`, without the types: the generator
// itself is another 300 MB. The numbers are those of the versions in package.json.

const GRAPH = [
  "KwsQBRwAACIAMB0AAAQAEB4AACIAMB8CAAAAASABACQAIQEAAAABACABAAAAAQAgBRwAACIAMB0AAAQAEB4AACIAMB8CACMAISABACQAIQADAAAABAAgAwAABQAwBAAAAQAgAwAAAAQAIAMAAAUAMA",
  "QAAAEAIAMAAAAEACADAAAFADAEAAABACACHwIAAAABIAEAAAABAQgAAAkAIAIfAgAAAAEgAQAAAAEBCAAACwAwAQgAAAsAMAIfAgAqACEgAQArACECAAAAAQAgCAAADgAgAh8CACoAISABACsAIQIA",
  "AAAEACAIAAAQACACAAAABAAgCAAAEAAgAwAAAAEAIA8AAAkAIBAAAA4AIAEAAAABACABAAAABAAgBRUAACUAIBYAACYAIBcAACkAIBgAACgAIBkAACcAIAUcAAAaADAdAAAXABAeAAAaADAfAgAbAC",
  "EgAQAcACEDAAAABAAgAwAAFgAwFAAAFwAgAwAAAAQAIAMAAAUAMAQAAAEAIAUcAAAaADAdAAAXABAeAAAaADAfAgAbACEgAQAcACENFQAAHgAgFgAAIQAgFwAAHgAgGAAAHgAgGQAAHgAgIQIAAAAB",
  "IgIAAAAEIwIAAAAEJAIAAAABJQIAAAABJgIAAAABJwIAAAABKwIAIAAhDhUAAB4AIBgAAB8AIBkAAB8AICEBAAAAASIBAAAABCMBAAAABCQBAAAAASUBAAAAASYBAAAAAScBAAAAASgBAAAAASkBAA",
  "AAASoBAAAAASsBAB0AIQ4VAAAeACAYAAAfACAZAAAfACAhAQAAAAEiAQAAAAQjAQAAAAQkAQAAAAElAQAAAAEmAQAAAAEnAQAAAAEoAQAAAAEpAQAAAAEqAQAAAAErAQAdACEIIQIAAAABIgIAAAAE",
  "IwIAAAAEJAIAAAABJQIAAAABJgIAAAABJwIAAAABKwIAHgAhCyEBAAAAASIBAAAABCMBAAAABCQBAAAAASUBAAAAASYBAAAAAScBAAAAASgBAAAAASkBAAAAASoBAAAAASsBAB8AIQ0VAAAeACAWAA",
  "AhACAXAAAeACAYAAAeACAZAAAeACAhAgAAAAEiAgAAAAQjAgAAAAQkAgAAAAElAgAAAAEmAgAAAAEnAgAAAAErAgAgACEIIQgAAAABIggAAAAEIwgAAAAEJAgAAAABJQgAAAABJggAAAABJwgAAAAB",
  "KwgAIQAhBRwAACIAMB0AAAQAEB4AACIAMB8CACMAISABACQAIQghAgAAAAEiAgAAAAQjAgAAAAQkAgAAAAElAgAAAAEmAgAAAAEnAgAAAAErAgAeACELIQEAAAABIgEAAAAEIwEAAAAEJAEAAAABJQ",
  "EAAAABJgEAAAABJwEAAAABKAEAAAABKQEAAAABKgEAAAABKwEAHwAhAAAAAAAFLAIAAAABLQIAAAABLgIAAAABLwIAAAABMAIAAAABASwBAAAAAQAAAAAFFQAGFgAHFwAIGAAJGQAKAAAAAAAFFQAG",
  "FgAHFwAIGAAJGQAKAQIBAgMBBQYBBgcBBwgBCQoBCgwCCw0DDA8BDRECDhIEERMBEhQBExUCGhgFGxkL",
].join("");

const STRINGS = "where items.findUnique items.findUniqueOrThrow orderBy cursor items.findFirst items.findFirstOrThrow items.findMany data items.createOne items.createMany items.createManyAndReturn items.updateOne items.updateMany items.updateManyAndReturn create update items.upsertOne items.deleteOne items.deleteMany having _count _avg _sum _min _max items.groupBy items.aggregate AND OR NOT id name equals in notIn lt lte gt gte contains startsWith endsWith not set increment decrement multiply divide".split(" ");

/** Source of a client, as a function would import it. */
export const CLIENT = `import * as runtime from "@prisma/client/runtime/client";
import { PrismaPg } from "@prisma/adapter-pg";
const PrismaClient = runtime.getPrismaClient({
  previewFeatures: [],
  clientVersion: "7.10.1",
  engineVersion: "d1b3f377ca835d73fd50954a5e22128b9ebdd6b8",
  activeProvider: "postgresql",
  inlineSchema: ${JSON.stringify('datasource db {\n  provider = "postgresql"\n}\nmodel items {\n  id   Int    @id\n  name String\n}\n')},
  runtimeDataModel: ${JSON.stringify({"models": {"items": {"fields": [{"name": "id", "kind": "scalar", "type": "Int"}, {"name": "name", "kind": "scalar", "type": "String"}], "dbName": null, "schema": null}}, "enums": {}, "types": {}})},
  parameterizationSchema: ${JSON.stringify({ strings: STRINGS, graph: GRAPH })},
  compilerWasm: {
    importName: "./query_compiler_fast_bg.js",
    getRuntime: () => import("@prisma/client/runtime/query_compiler_fast_bg.postgresql.js"),
    getQueryCompilerWasmModule: async () => {
      const { wasm } = await import("@prisma/client/runtime/query_compiler_fast_bg.postgresql.wasm-base64.js");
      return new WebAssembly.Module(Buffer.from(wasm, "base64"));
    },
  },
});
`;
