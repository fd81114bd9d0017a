import * as api from 'routed-attention'
import { runSuite } from '../suite/suite.js'
import { report } from './report.js'

addEventListener('message', ({ data: host }) => void report(host, () => runSuite(api, host)))
