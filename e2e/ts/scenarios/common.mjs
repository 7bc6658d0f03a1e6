// What every TypeScript-SDK scenario shares. One scenario serves the old and the new package.

import assert from 'node:assert/strict'
import crypto from 'node:crypto'
import { createRequire } from 'node:module'
import { Daytona, DaytonaError } from '@daytonaio/sdk'

const require = createRequire(import.meta.url)
export const VERSION = require('@daytonaio/sdk/package.json').version
export const OLD = Number(VERSION.split('.')[1]) < 100
export const unique = () => crypto.randomBytes(6).toString('hex')

// collect gives an array of what list() gives: a promise of an array, or an asynchronous iterator.
export async function collect(items) {
  items = await items
  if (Array.isArray(items)) return items
  const all = []
  for await (const item of items) all.push(item)
  return all
}

// fails runs make, which must throw the SDK's error class of that kind, and returns the error.
// The old package knows two classes: DaytonaNotFoundError (not exported) and DaytonaError.
export async function fails(kind, make, text = '') {
  let got
  try {
    got = await make()
  } catch (e) {
    assert.ok(e instanceof DaytonaError, `${e?.constructor?.name} is not a DaytonaError: ${e?.stack}`)
    let names = []
    for (let c = e.constructor; c && c.name; c = Object.getPrototypeOf(c)) names.push(c.name)
    const want = kind === 'NotFound' ? 'DaytonaNotFoundError' : kind && !OLD ? `Daytona${kind}Error` : 'DaytonaError'
    assert.ok(names.includes(want), `expected ${want}, got ${names[0]}: ${e.message}`)
    assert.ok(e.message.toLowerCase().includes(text.toLowerCase()), `"${text}" is not in "${e.message}"`)
    return e
  }
  assert.fail(`expected a ${kind} error, got ${JSON.stringify(got)}`)
}

// run calls scenario(client) and deletes every sandbox that it created.
export async function run(scenario) {
  console.error(`@daytonaio/sdk ${VERSION}`)
  const daytona = new Daytona()
  const made = []
  const create = daytona.create.bind(daytona)
  daytona.create = async (...args) => {
    const sandbox = await create(...args)
    made.push(sandbox)
    return sandbox
  }
  try {
    await scenario(daytona)
  } catch (e) {
    console.error(e)
    process.exitCode = 1
  } finally {
    for (const sandbox of made) {
      await daytona.delete(sandbox).catch((e) => {
        console.error('clean-up:', e)
        process.exitCode = 1
      })
    }
  }
  // The new client keeps a socket open for events.
  process.exit(process.exitCode ?? 0)
}
