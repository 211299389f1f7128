// Object-relational mappers: their statements are seen where they go through a driver that the agent knows.

import assert from "node:assert/strict";
import test from "node:test";
import * as servers from "./stage/databases.mjs";
import { major, withFunction } from "./stage/function.mjs";


/** server, source; each handler reads `items` once and fails once */
const CASES = {
  "knex through pg": {
    server: "postgres",
    source: `import knex from "knex";
      export const handler = async ({ port }) => {
        const db = knex({ client: "pg", version: "16", connection: { host: "127.0.0.1", port, user: "u", password: "secret", database: "shop" } });
        await db("items").select("*");
        const failed = await db("fail").select("*").catch((error) => error.message);
        await db.destroy();
        return failed; };`,
  },
  "knex through mysql2": {
    server: "mysql",
    source: `import knex from "knex";
      export const handler = async ({ port }) => {
        const db = knex({ client: "mysql2", connection: { host: "127.0.0.1", port, user: "u", password: "secret", database: "shop" } });
        await db("items").select("*");
        const failed = await db("fail").select("*").catch((error) => error.message);
        await db.destroy();
        return failed; };`,
  },
  "sequelize through pg": {
    server: "postgres",
    source: `import { DataTypes, Sequelize } from "sequelize";
      export const handler = async ({ port }) => {
        const db = new Sequelize("shop", "u", "secret", { dialect: "postgres", host: "127.0.0.1", port, logging: false, databaseVersion: "16.0.0" });
        const table = (name) => db.define(name, { name: DataTypes.STRING }, { tableName: name, timestamps: false });
        await table("items").findAll();
        const failed = await table("fail").findAll().catch((error) => error.message);
        await db.close();
        return failed; };`,
  },
  "sequelize through mysql2": {
    server: "mysql",
    source: `import { DataTypes, Sequelize } from "sequelize";
      export const handler = async ({ port }) => {
        const db = new Sequelize("shop", "u", "secret", { dialect: "mysql", host: "127.0.0.1", port, logging: false, databaseVersion: "8.0.0" });
        const table = (name) => db.define(name, { name: DataTypes.STRING }, { tableName: name, timestamps: false });
        await table("items").findAll();
        const failed = await table("fail").findAll().catch((error) => error.message);
        await db.close();
        return failed; };`,
  },
};

for (const [name, { server, source, from = 18 }] of Object.entries(CASES))
  test(name, { skip: major < from }, async () => {
    const { port, close } = await servers[server]();
    try {
      await withFunction({ "app.mjs": source }, {}, async (run) => {
        assert.match(JSON.parse((await run.invoke({ port })).body), /wrong/);
        await run.frames.done(1);
        const root = run.frames.named("app.handler");
        const calls = run.frames.ended.filter((span) => span.kind === 3);
        const about = (table) => calls.filter((span) => new RegExp(`from ["\`]?${table}\\b`, "i").test(span.attributes["db.query.text"]));
        const [[read, ...again], [failed, ...more]] = [about("items"), about("fail")];
        assert.deepEqual([again, more], [[], []]);
        assert.deepEqual([read, failed].map((span) => [span.name.toLowerCase(), span.status, span.parentId]), [["select shop", 0, root.spanId], ["select shop", 2, root.spanId]]);
        assert.equal(read.attributes["server.port"], port);
        assert.equal(read.attributes["db.system.name"], server === "mysql" ? "mysql" : "postgresql");
        assert.doesNotMatch(run.output(), /\[otel-xray\]/);
      });
    } finally {
      close();
    }
  });
