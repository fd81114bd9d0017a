import { inspect } from 'node:util'
import { expect, test } from 'vitest'
import { RoutedAttentionError } from '../../src/index.js'

test('an error has only members that apply to it', () => {
  const plain = new RoutedAttentionError('BAD_FILE', 'broken')
  expect(Object.keys(plain).sort()).toEqual(['code', 'name'])
  expect('cause' in plain).toBe(false)
  // as Node prints an uncaught one
  expect(inspect(plain)).not.toContain('undefined')
  const full = new RoutedAttentionError('NETWORK', 'not ready', { status: 503, names: ['a'], cause: plain })
  expect(full).toMatchObject({ status: 503, names: ['a'], cause: plain })
})
