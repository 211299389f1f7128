// Prisma with a driver adapter: its statements are seen where they go through pg, or over pg's socket.

import assert from "node:assert/strict";
import test from "node:test";
import { bundle } from "./stage/bundle.mjs";
import * as servers from "./stage/databases.mjs";
import { major, withFunction } from "./stage/function.mjs";
import { CLIENT } from "./stage/prisma.mjs";


const SOURCE = `${CLIENT}
  export const handler = async ({ port }) => {
    const adapter = new PrismaPg({ host: "127.0.0.1", port, user: "u", password: "secret", database: "shop" });
    const prisma = new PrismaClient({ adapter });
    const found = await prisma.items.findMany({ where: { name: "secret" } });
    const failed = await prisma.$queryRawUnsafe("SELECT fail").catch((error) => error.meta.driverAdapterError.cause.originalMessage);
    await prisma.$transaction([prisma.items.findMany(), prisma.items.deleteMany()]);
    await prisma.$disconnect();
    return [found, failed]; };`;

const STATEMENTS = [
  ["SELECT shop", /FROM "public"."items" WHERE "public"."items"."name" = \$1/, 0],
  ["SELECT shop", /^SELECT fail$/, 2],
  ["BEGIN shop", /^BEGIN$/, 0],
  ["SELECT shop", /FROM "public"."items"/, 0],
  ["DELETE shop", /^DELETE FROM "public"."items"/, 0],
  ["COMMIT shop", /^COMMIT$/, 0],
];

for (const bundled of [false, true])
  test(`Prisma through pg${bundled ? ", inside of a bundle" : ""}`, { skip: major < 20 }, async () => {
    const { port, close } = await servers.postgres();
    try {
      await withFunction(bundled ? await bundle(SOURCE, {}) : { "app.mjs": SOURCE }, { packages: !bundled }, async (run) => {
        assert.deepEqual(JSON.parse((await run.invoke({ port })).body), [[], "wrong"]);
        await run.frames.done(1);
        const root = run.frames.named("app.handler");
        const calls = run.frames.ended.filter((span) => span.kind === 3 && !span.name.startsWith("connect"));
        assert.deepEqual(calls.map(({ name, status, parentId }) => [name, status, parentId]), STATEMENTS.map(([name, , status]) => [name, status, root.spanId]));
        for (const [index, { attributes }] of calls.entries()) {
          assert.match(attributes["db.query.text"], STATEMENTS[index][1]);
          assert.equal(attributes["server.port"], port);
        }
        assert.doesNotMatch(run.output(), /\[otel-xray\]/);
      });
    } finally {
      close();
    }
  });
