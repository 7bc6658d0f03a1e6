// Stands in for the model's SDK: answers every message with the same tool call.

import assert from 'node:assert/strict'
import fs from 'node:fs'

export default class Anthropic {
  messages = {
    create: async ({ messages, tools }) => {
      assert.ok(messages[0].role === 'user' && messages[0].content.includes('dataset.csv'))
      assert.equal(tools[0].name, 'run_python_code')
      const code = fs.readFileSync(process.env.E2E_MODEL_ANSWER, 'utf8')
      return {
        content: [
          { type: 'text', text: 'I will analyze the data.' },
          { type: 'tool_use', name: 'run_python_code', input: { code } },
        ],
      }
    },
  }
}
