"""The gallery: common mistakes, each with the test that finds it.

`python tests/mutations` plants them one by one and prints which checks find which mistake.
"""

import faults_of_checks
import faults_of_cuda
import faults_of_kernels
import faults_of_losses
import faults_of_models
import faults_of_ops
import faults_of_peers
import faults_of_threads
import faults_of_training

ROOMS = {
    "traps that peers fell into": faults_of_peers.FAULTS,
    "ops": faults_of_ops.FAULTS,
    "losses": faults_of_losses.FAULTS,
    "threads and memory": faults_of_threads.FAULTS,
    "CPU kernels": faults_of_kernels.FAULTS,
    "CUDA kernels": faults_of_cuda.FAULTS,
    "layers and models": faults_of_models.FAULTS,
    "optimizers, training, data": faults_of_training.FAULTS,
    "the gradient check itself": faults_of_checks.FAULTS,
}
GALLERY = {fault.name: fault for faults in ROOMS.values() for fault in faults}
