// Runs what a JavaScript or TypeScript context is given, one piece after the
// other, as scripts of one program. See worker.py for the protocol.
'use strict'
;(() => {
  const fs = require('fs'), net = require('net'), path = require('path'), vm = require('vm'), util = require('util')
  const { createRequire } = require('module')
  const language = process.argv[2]
  process.argv.length = 1
  const load = createRequire(path.join(process.cwd(), 'cell.js'))
  Object.assign(globalThis, { require: load, module: { exports: {} }, exports: {} })
  let count = 0, stop = null

  const send = (message) => {
    let data = Buffer.from(JSON.stringify(message) + '\n')
    while (data.length) {
      try {
        data = data.subarray(fs.writeSync(3, data))
      } catch (e) {
        if (e.code !== 'EAGAIN') throw e
      }
    }
  }

  const typescript = () => {
    const places = [process.cwd(), path.join(path.dirname(process.execPath), '../lib/node_modules'),
      '/usr/local/lib/node_modules', '/usr/lib/node_modules', '/usr/share/nodejs']
    for (const place of places) {
      for (const name of ['typescript', path.join(place, 'typescript')]) {
        try {
          return createRequire(path.join(place, 'x.js'))(name)
        } catch (e) {
          if (e.code !== 'MODULE_NOT_FOUND') throw e
        }
      }
    }
    throw new Error('the package typescript is not installed in the sandbox: npm install -g typescript')
  }

  // A script has no import statements; what they bind is to last like the rest.
  const statement = /^[ \t]*import\s+(?:(type\s+)?([\w$]+)?\s*,?\s*(?:\*\s*as\s+([\w$]+)|\{([^}]*)\})?\s*from\s*)?(['"])([^'"\n]+)\5[ \t]*;?/gm
  const imports = (code) => code.replace(statement, (whole, type, single, all, named, quote, name) => {
    if (type) return ''
    const module = `require(${JSON.stringify(name)})`
    const out = []
    if (single) out.push(`var ${single} = ((m) => m && m.__esModule ? m.default : m)(${module})`)
    if (all) out.push(`var ${all} = ${module}`)
    if (named) out.push(`var {${named.replace(/\btype\s+[\w$]+\s*,?/g, '').replace(/([\w$]+)\s+as\s+([\w$]+)/g, '$1: $2')}} = ${module}`)
    return (out.length ? out.join('; ') : module) + ';' + '\n'.repeat(whole.split('\n').length - 1)
  })

  let ts
  const plain = (code) => {
    code = imports(code)
    if (language !== 'typescript') return code
    ts ??= typescript()
    const { outputText, diagnostics } = ts.transpileModule(code, {
      compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.None, removeComments: false }, reportDiagnostics: true,
    })
    const wrong = diagnostics.find((d) => d.category === ts.DiagnosticCategory.Error)
    if (wrong) throw new SyntaxError(ts.flattenDiagnosticMessageText(wrong.messageText, '\n'))
    return outputText
  }

  const describe = (e) => {
    let name = 'Error', value = String(e), traceback = ''
    try {
      if (e instanceof Error || (e && e.stack)) {
        name = e.name
        value = e.message
        // Frames of the user's alone.
        traceback = String(e.stack).split('\n').filter((l) => !/^\s+at .*(\[stdin\]|node:)/.test(l)).join('\n')
      } else value = util.inspect(e)
    } catch {}
    return { type: 'error', name: String(name), value: String(value), traceback }
  }

  process.on('SIGINT', () => stop && stop(Object.assign(new Error('interrupted'), { name: 'KeyboardInterrupt' })))
  // What fails without anybody waiting for it does not end the context.
  process.on('uncaughtException', (e) => fs.writeSync(2, util.inspect(e) + '\n'))

  const run = async ({ code, envs }) => {
    const filename = `<cell ${++count}>`
    const before = {}
    for (const [k, v] of Object.entries(envs || {})) {
      before[k] = process.env[k]
      process.env[k] = v
    }
    let failed = null, interrupted = false
    try {
      const interrupt = new Promise((_, reject) => { stop = reject })
      interrupt.catch(() => {})
      const source = plain(code)
      let script
      try {
        script = new vm.Script(source, { filename })
      } catch (e) {
        if (!(e instanceof SyntaxError) || !/\bawait\b/.test(source)) throw e
        script = new vm.Script(`(async () => {${source}\n})()`, { filename })
      }
      const value = script.runInThisContext({ breakOnSigint: true })
      if (value instanceof Promise) await Promise.race([value, interrupt])
    } catch (e) {
      interrupted = e?.code === 'ERR_SCRIPT_EXECUTION_INTERRUPTED' || e?.name === 'KeyboardInterrupt'
      failed = e
    }
    stop = null
    for (const [k, v] of Object.entries(before)) {
      if (v === undefined) delete process.env[k]
      else process.env[k] = v
    }
    if (failed !== null) send(describe(failed))
    send({ type: 'done', interrupted })
  }

  const control = new net.Socket({ fd: 3, readable: true, writable: false })
  let text = ''
  let turn = Promise.resolve()
  control.setEncoding('utf8')
  control.on('data', (piece) => {
    text += piece
    for (let end; (end = text.indexOf('\n')) >= 0; text = text.slice(end + 1)) {
      const request = JSON.parse(text.slice(0, end))
      turn = turn.then(() => run(request))
    }
  })
  control.on('end', () => process.exit())
  control.on('error', () => process.exit(1))
})()
