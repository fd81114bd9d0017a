/* In Node, Deno and Bun: `process.mjs CONFIG`, the configuration as JSON. */
import * as api from 'routed-attention'
import * as server from 'routed-attention/server'
import { runServerSuite } from '../suite/server.js'
import { runSuite } from '../suite/suite.js'
import { report } from './report.js'

const host = JSON.parse(process.argv[2])
void report(host, async () => [...(await runSuite(api, host)), ...(await runServerSuite(api, server, host))])
