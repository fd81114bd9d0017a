import { defineConfig, globalIgnores } from 'eslint/config'
import tseslint from 'typescript-eslint'

export default defineConfig(
  // examples/deno-deploy is checked by Deno, whose types it needs.
  globalIgnores([
    'dist/',
    'examples/page/dist/',
    'examples/deno-deploy/',
    'build/',
    'coverage/',
    '**/node_modules/',
    '**/*.generated.ts',
    'assembly/**/*.ts',
  ]),
  {
    files: ['src/**/*.ts', 'test/**/*.ts', 'examples/**/*.ts'],
    extends: [tseslint.configs.recommended],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      eqeqeq: 'error',
      'no-constant-binary-expression': 'error',
      'no-self-compare': 'off', // x !== x is how a NaN is found in a hot loop
      'object-shorthand': 'error',
      'prefer-const': ['error', { destructuring: 'all' }],
      // Every promise of this package is awaited, returned or marked: calls overlap, and a lost rejection ends the process.
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/only-throw-error': 'error',
      '@typescript-eslint/no-unnecessary-type-assertion': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
      // Indexing typed arrays in range, with noUncheckedIndexedAccess on.
      '@typescript-eslint/no-non-null-assertion': 'off',
    },
  },
  {
    files: ['test/**/*.ts'],
    rules: {
      'no-restricted-syntax': [
        'error',
        {
          selector: "CallExpression[callee.object.name='fc'][callee.property.name='assert']:not([arguments.1.callee.name='runs'])",
          message: 'What a property draws is decided by TEST_SEED: give it `runs(n)` of test/support/seed.ts.',
        },
        {
          selector: "CallExpression[callee.object.name='vi'][callee.property.name=/^wait(For|Until)$/]:not([arguments.1])",
          message: 'This gives up after a second, for which a machine may stall: use `eventually` of test/support/eventually.ts.',
        },
      ],
    },
  },
  {
    files: ['**/*.mjs', '**/*.js'],
    extends: [tseslint.configs.recommended],
    rules: { eqeqeq: 'error', 'object-shorthand': 'error' },
  },
)
